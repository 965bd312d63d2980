"""The inverse of a matrix whose Hermitian part is at least the identity."""

import functools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

_matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)


def block_inverse(matrix: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    r"""Inverts a matrix by halves, without pivots.

    With Schur complement S = D - C A⁻¹ B,

    .. math::

        \begin{pmatrix} A & B \\ C & D \end{pmatrix}^{-1} =
        \begin{pmatrix}
            A^{-1} + A^{-1} B S^{-1} C A^{-1} & -A^{-1} B S^{-1} \\
            -S^{-1} C A^{-1} & S^{-1}
        \end{pmatrix}

    If M + Mᴴ >= 2 I, every diagonal block and every Schur complement has that property
    too, so that no block is singular. The blocks grow like the square of the norm of M,
    and the relative error with them.

    Nearly all of the 2n³ operations are matrix products, which on a CPU run three to
    four times as fast as the factorizations of LAPACK.

    Args:
        matrix: the matrix M, of size 1 at least.

    Returns:
        Its inverse.
    """
    # At most eight leaves: each is a loop to compile.
    return _by_halves(matrix, max(32, -(-matrix.shape[0] // 8)))


def _by_halves(matrix: Array, leaf: int) -> Array:
    n = matrix.shape[0]
    if n <= leaf:
        return _gauss_jordan(matrix)
    half = -(-n // 2)
    a, b = matrix[:half, :half], matrix[:half, half:]
    c, d = matrix[half:, :half], matrix[half:, half:]
    a_inverse = _by_halves(a, leaf)
    left = _matmul(c, a_inverse)
    right = _matmul(a_inverse, b)
    s_inverse = _by_halves(d - _matmul(left, b), leaf)
    corner = _matmul(right, s_inverse)
    return jnp.block([
        [a_inverse + _matmul(corner, left), -corner],
        [-_matmul(s_inverse, left), s_inverse],
    ])


def _gauss_jordan(matrix: Array) -> Array:
    index = jnp.arange(matrix.shape[0])

    def eliminate(k: Array, m: Array) -> Array:
        row = lax.dynamic_index_in_dim(m, k, 0)
        column = lax.dynamic_index_in_dim(m, k, 1)
        in_row, in_column = (index == k)[:, None], (index == k)[None, :]
        pivot = lax.dynamic_index_in_dim(column, k, 0)
        scaled = jnp.where(in_column, jnp.ones_like(row), row) / pivot
        rest = jnp.where(in_column, jnp.zeros_like(m), m) - column * scaled
        return jnp.where(in_row, scaled, rest)

    return lax.fori_loop(0, matrix.shape[0], eliminate, matrix)
