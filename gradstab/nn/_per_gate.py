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
            the shape is none of so many blocks.
    """
    if not inits or not all(callable(init) for init in inits):
        raise ValueError(f"`inits` must be initializers, at least one, got {inits!r}.")

    def init(key, shape, dtype=jnp.float32, out_sharding=None) -> Array:
        gates = len(inits)
        if len(shape) < 2 or shape[-1] % gates:
            raise ValueError(
                f"`shape` must end in (rows, columns) with {gates} blocks of equal "
                f"width, got {tuple(shape)}."
            )
        block = (*shape[:-1], shape[-1] // gates)
        keys = jax.random.split(key, gates)
        drawn = [init(key, block, dtype) for init, key in zip(inits, keys, strict=True)]
        return jnp.concatenate(drawn, axis=-1)

    return init
