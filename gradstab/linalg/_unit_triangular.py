"""The inverse of a unit upper triangular matrix, by matrix products alone."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

_dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
_LEAF = 8


@jax.custom_jvp
def invert_unit_upper(
    upper: Inexact[Array, "*stack n n"],
) -> Inexact[Array, "*stack n n"]:
    r"""Inverts an upper triangular matrix whose diagonal is 1 but for rounding errors.

    The two diagonal halves are inverted together, down to leaves of 8 rows, and merged:

    .. math:: \begin{pmatrix} A & B \\ 0 & C \end{pmatrix}^{-1} =
        \begin{pmatrix} A^{-1} & -A^{-1} B C^{-1} \\ 0 & C^{-1} \end{pmatrix}

    O(n³), and no call to LAPACK. For U = I - N, the shorter product of the I + N^(2^i)
    would lose all digits to cancellation where N is large.

    Args:
        upper: the matrix U, or a stack of them. Its diagonal is taken for 1, and what
            is below is ignored; the derivative is that of the inverse of any U.

    Returns:
        The inverse, unit upper triangular.
    """
    size = upper.shape[-1]
    doublings = (max(1, -(-size // _LEAF)) - 1).bit_length()
    padding = (0, (_LEAF << doublings) - size)
    unpadded = [(0, 0)] * (upper.ndim - 2)
    inverse = _invert(jnp.pad(jnp.triu(upper, 1), [*unpadded, padding, padding]))
    return inverse[..., :size, :size]


@invert_unit_upper.defjvp
def _(primals, tangents):
    inverse = invert_unit_upper(*primals)
    return inverse, -_dot(_dot(inverse, jnp.triu(tangents[0])), inverse)


def _invert(strict: Array) -> Array:
    size = strict.shape[-1]
    if size == _LEAF:
        return _substitute(strict)
    half = size // 2
    upper_right = strict[..., :half, half:]
    first, last = _invert(
        jnp.stack([strict[..., :half, :half], strict[..., half:, half:]])
    )
    corner = -_dot(_dot(first, upper_right), last)
    return jnp.block([[first, corner], [jnp.zeros_like(corner), last]])


def _substitute(strict: Array) -> Array:
    def fill_row(i, inverse):
        i = _LEAF - 2 - i
        row = jax.lax.dynamic_index_in_dim(identity, i, axis=-2)
        below = jax.lax.dynamic_index_in_dim(strict, i, axis=-2)
        row = row - _dot(below, inverse)
        return jax.lax.dynamic_update_slice_in_dim(inverse, row, i, axis=-2)

    identity = jnp.broadcast_to(jnp.eye(_LEAF, dtype=strict.dtype), strict.shape)
    return jax.lax.fori_loop(0, _LEAF - 1, fill_row, identity)
