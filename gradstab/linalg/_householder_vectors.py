"""The Householder reflectors of a matrix with orthonormal columns."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from gradstab._checks import check_integer
from gradstab.linalg._householder import check_reflectors


def householder_vectors(
    q: Inexact[Array, "n p"], *, reflectors: int | None = None
) -> tuple[Inexact[Array, "n p"], Inexact[Array, " p"]]:
    r"""Finds reflectors and signs whose product is a given matrix.

    The right inverse of `householder_product`: reflector by reflector, column j of Q is
    turned to the multiple of e_j that lies away from it,

    .. math:: v_j = x + s \|x\| e_j, \qquad s = x_j / |x_j|, \qquad H_j x = -s \|x\| e_j

    where x is what the reflectors before left of the column from row j on, and s is 1
    where x_j is 0. So ‖v_j‖² lies between 2 and 4, and -s is the sign. Columns without
    a reflector have s itself for their sign. O(n p²), one reflector after another: no
    hot path. Not meant to be differentiated.

    Args:
        q: a matrix with orthonormal columns, p <= n. That is assumed, not checked: of
            other matrices, this finds the Q of the QR factorization with R_jj >= 0.
        reflectors: how many reflectors to use, k <= p. None for min(p, n - 1), which is
            enough: the n-th would reflect a single coordinate, which its sign does.

    Returns:
        The reflectors as columns, with zeros above the diagonal and in all columns from
        the k-th on, and the signs: ±1, or numbers of modulus 1 when complex.
        `householder_product(vectors, signs, columns=p)` equals `q` to rounding; for a k
        below its default, only where what the reflectors leave of `q` is diagonal.

    Raises:
        ValueError: if `q` is not one matrix with at most as many columns as rows, or
            if `reflectors` lies outside [0, p].

    References:
        Golub & Van Loan, "Matrix Computations", 4th edition, 2013, section 5.2.
    """
    check_reflectors("q", q)
    n, p = q.shape
    reflectors = min(p, max(n - 1, 0)) if reflectors is None else reflectors
    check_integer("reflectors", reflectors, 0, p)
    if p == 0:
        return q, jnp.zeros(0, q.dtype)
    return _reflect(q, reflectors)


# Compiled as one: called op by op, the loop would compile at every call.
@partial(jax.jit, static_argnums=1)
def _reflect(q: Array, reflectors: int) -> tuple[Array, Array]:
    n, p = q.shape

    def step(j: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        work, signs = state
        x = jnp.where(jnp.arange(n) >= j, work[:, j], 0)
        sign = _phase(x[j])
        length = jnp.linalg.norm(x)
        v = x.at[j].add(sign * jnp.where(length == 0, 1, length).astype(q.dtype))
        overlap = jnp.matmul(v.conj(), work, precision=jax.lax.Precision.HIGHEST)
        overlap = overlap * (2 / jnp.vdot(v, v).real).astype(q.dtype)
        work = work - v[:, None] * jnp.where(jnp.arange(p) > j, overlap, 0)[None, :]
        return work.at[:, j].set(v), signs.at[j].set(-sign)

    # A column that has been turned makes room for the reflector that turned it.
    work, signs = jax.lax.fori_loop(0, reflectors, step, (q, jnp.ones(p, q.dtype)))
    reflected = jnp.arange(p) < reflectors
    signs = jnp.where(reflected, signs, _phase(jnp.diagonal(work)))
    return jnp.where(reflected, work, 0), signs


def _phase(number: Array) -> Array:
    """Returns z / |z|, and 1 for zero."""
    modulus = jnp.abs(number)
    zero = modulus == 0
    return jnp.where(zero, 1, number / jnp.where(zero, 1, modulus).astype(number.dtype))
