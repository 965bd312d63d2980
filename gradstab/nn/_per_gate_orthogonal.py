"""Orthogonal starts for kernels that hold several gates side by side."""

import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jaxtyping import Array

from gradstab._checks import check_integer, check_real
from gradstab._precision import at_least_single
from gradstab.nn._per_gate import gate_shape


def per_gate_orthogonal(gates: int, *, scale: float = 1.0) -> Initializer:
    """Makes an initializer of kernels whose blocks are orthogonal, one for each gate.

    Flax's `nnx.GRUCell` and `nnx.OptimizedLSTMCell` hold the recurrent kernels of all
    gates in one of shape (n, gates n); an orthogonal initializer makes its rows
    orthonormal, and leaves each gate's block with singular values down to some
    thousandths. Pass this as their `recurrent_kernel_init` to start every block
    orthogonal.

    Args:
        gates: how many blocks stand side by side on the last axis: 3 in a GRU, 4 in an
            LSTM.
        scale: what each block is multiplied by.

    Returns:
        An initializer (key, shape, dtype) -> array, of blocks with orthonormal columns,
        or rows if they are wide. Leading axes are separate kernels. Blocks are drawn in
        float32 and cast, where the dtype is of lower precision.

    Raises:
        ValueError: if `gates` is no integer >= 1 or `scale` is not finite; on a call,
            if the shape is none of so many blocks.

    References:
        Saxe, McClelland & Ganguli, "Exact Solutions to the Nonlinear Dynamics of
        Learning in Deep Linear Neural Networks", ICLR 2014, arXiv:1312.6120.
    """
    check_integer("gates", gates, 1)
    check_real("scale", scale)

    def init(key, shape, dtype=jnp.float32, out_sharding=None) -> Array:
        *stack, rows, columns = gate_shape(shape, gates)
        wide = at_least_single(dtype)
        if 0 in shape:
            return jnp.zeros(shape, dtype)
        draw = jax.nn.initializers.orthogonal(scale)
        count = (*stack, gates)

        def block(key):
            return draw(key, (rows, columns), wide)

        for _ in count:
            block = jax.vmap(block)
        blocks = block(jax.random.split(key, count))
        return jnp.moveaxis(blocks, -3, -2).reshape(shape).astype(dtype)

    return init
