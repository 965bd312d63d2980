"""The Householder reflectors of a matrix with orthonormal columns."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from gradstab.linalg._householder import check_reflectors


def householder_vectors(
    q: Inexact[Array, "n p"],
) -> tuple[Inexact[Array, "n p"], Inexact[Array, " p"]]:
    r"""Finds reflectors and signs whose product is a given matrix.

    The right inverse of `householder_product`: reflector by reflector, column j of Q is
    turned to the multiple of e_j that lies away from it,

    .. math:: v_j = x + s \|x\| e_j, \qquad s = x_j / |x_j|, \qquad H_j x = -s \|x\| e_j

    where x is what the reflectors before left of the column from row j on, and s is 1
    where x_j is 0. So no reflector is zero, ‖v_j‖² lies between 2 and 4, and -s is the
    sign. O(n p²), one reflector after another: no hot path. Not meant to be
    differentiated.

    Args:
        q: a matrix with orthonormal columns, p <= n. That is assumed, not checked: of
            other matrices, this finds the Q of the QR factorization with R_jj >= 0.

    Returns:
        The reflectors as columns, with zeros above the diagonal, and the signs: ±1, or
        numbers of modulus 1 when complex. `householder_product(vectors, signs,
        columns=p)` equals `q` to rounding.

    Raises:
        ValueError: if `q` is not one matrix with at most as many columns as rows.

    References:
        Golub & Van Loan, "Matrix Computations", 4th edition, 2013, section 5.2.
    """
    check_reflectors("q", q)
    n, p = q.shape
    if p == 0:
        return q, jnp.zeros(0, q.dtype)

    def reflect(j, state):
        work, signs = state
        column = jax.lax.dynamic_index_in_dim(work, j, axis=1, keepdims=False)
        x = jnp.where(jnp.arange(n) >= j, column, 0)
        pivot = x[j]
        modulus = jnp.abs(pivot)
        zero = modulus == 0
        sign = jnp.where(zero, 1, pivot / jnp.where(zero, 1, modulus).astype(q.dtype))
        length = jnp.linalg.norm(x)
        v = x.at[j].add(sign * jnp.where(length == 0, 1, length).astype(q.dtype))
        overlap = jnp.matmul(v.conj(), work, precision=jax.lax.Precision.HIGHEST)
        overlap = overlap * (2 / jnp.vdot(v, v).real).astype(q.dtype)
        work = work - v[:, None] * jnp.where(jnp.arange(p) > j, overlap, 0)[None, :]
        work = jax.lax.dynamic_update_index_in_dim(work, v, j, axis=1)
        return work, signs.at[j].set(-sign)

    return jax.lax.fori_loop(0, p, reflect, (q, jnp.ones(p, q.dtype)))
