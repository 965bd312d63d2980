"""Skew-symmetric and skew-Hermitian matrices."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from gradstab._checks import check_square


def skew(lower: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    r"""Reads the lower triangle of a matrix as a skew-Hermitian matrix.

    .. math:: A = L - L^H + i \operatorname{diag}(\operatorname{Im} \mathrm{lower})

    where L is the strict lower triangle of `lower`. Reaches every skew-Hermitian
    matrix, which for real input is every skew-symmetric one. O(n²).

    Args:
        lower: any matrix. Its strict upper triangle is never read, nor is its diagonal
            if it is real, so that their gradient is zero.

    Returns:
        A with Aᴴ = -A exactly, in the dtype of `lower`.

    Raises:
        ValueError: if `lower` is not one square matrix of single or double precision.
    """
    check_square("lower", lower)
    strict = jnp.tril(lower, -1)
    # The barrier keeps XLA from fusing what differentiates the map after this one into
    # a loop over the transpose, which then reads every operand against the grain.
    matrix = lax.optimization_barrier(strict - strict.mT.conj())
    if jnp.iscomplexobj(lower):
        diagonal = jnp.diagonal(lower)
        return matrix + jnp.diag((diagonal - diagonal.conj()) / 2)
    return matrix
