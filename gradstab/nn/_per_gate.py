"""Kernels that hold several gates side by side, each started its own way."""

import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jaxtyping import Array


def per_gate(*inits: Initializer) -> Initializer:
    """Makes an initializer of kernels with an initializer for each gate.

    Flax's `nnx.GRUCell` and `nnx.OptimizedLSTMCell` hold the recurrent kernels of all
    gates in one of shape (n, gates n): of reset, update and candidate in a GRU, of
    input, forget, cell and output gate in an LSTM. Pass this as their
    `recurrent_kernel_init`.

    Args:
        *inits: an initializer for each gate, from left to right on the last axis.

    Returns:
        An initializer (key, shape, dtype) -> array, of blocks of equal width.

    Raises:
        ValueError: if there is no initializer or one cannot be called; on a call, if
            the shape is none of so many blocks, or an initializer gives another shape
            or dtype than it is asked for.
    """
    if not inits or not all(callable(init) for init in inits):
        raise ValueError(f"`inits` must be initializers, at least one, got {inits!r}.")

    def init(key, shape, dtype=jnp.float32, out_sharding=None) -> Array:
        block = gate_shape(shape, len(inits))
        keys = jax.random.split(key, len(inits))
        drawn = [init(key, block, dtype) for init, key in zip(inits, keys, strict=True)]
        for i, array in enumerate(drawn):
            if array.shape != block or array.dtype != dtype:
                raise ValueError(
                    f"Initializer {i} must give shape {block} and dtype "
                    f"{jnp.dtype(dtype).name}, got {array.shape} and "
                    f"{array.dtype.name}."
                )
        return jnp.concatenate(drawn, axis=-1)

    return init


def gate_shape(shape: tuple[int, ...], gates: int) -> tuple[int, ...]:
    """The shape of one gate's block in a kernel that holds several side by side.

    Args:
        shape: of the kernel.
        gates: how many blocks it holds.

    Returns:
        The shape of a block.

    Raises:
        ValueError: if the kernel has no room for blocks of equal width.
    """
    if len(shape) < 2 or shape[-1] % gates:
        raise ValueError(
            f"`shape` must end in (rows, columns) with {gates} blocks of equal "
            f"width, got {tuple(shape)}."
        )
    return (*shape[:-1], shape[-1] // gates)
