"""The Cayley transform by a few steps from a nearby inverse."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from gradstab._checks import check_integer, check_real, check_square
from gradstab.linalg._cayley import resolvent
from gradstab.linalg._conditional import apply_if

_matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)


def neumann_cayley(
    skew: Inexact[Array, "n n"],
    inverse: Inexact[Array, "n n"],
    *,
    order: int = 2,
    largest_residual: float | None = None,
) -> Inexact[Array, "n n"]:
    r"""Approximates the Cayley transform of A from the inverse at a nearby A₀.

    .. math::

        R = I - P (I + A), \qquad P' = (I + R + \dots + R^k) P, \qquad Q = 2 P' - I

    with P about (I + A₀)⁻¹, k the order and A₀ near A. The new inverse is (Q + I) / 2,
    to pass as `inverse` for the next A. O(n³): k + 1 products.

    I - P' (I + A) = R^(k+1), so that with q = |R|₂ both the distance to `cayley(skew)`
    and ‖QᴴQ - I‖₂ are of the order of q^(k+1); for an exact P, q is at most |A - A₀|₂.
    The series diverges for q >= 1, and Q is then no longer nearly orthogonal: compute
    the inverse anew from time to time, or when `orthogonality_error` grows. Or give
    `largest_residual`: for a product more, ‖I - P' (I + A)‖_F is measured, and where it
    is larger the exact transform is taken. The singular values of Q then differ from 1
    by at most twice `largest_residual`, but for rounding. Under `jax.vmap` a stack pays
    for exact transforms as soon as one of its matrices needs one.

    The derivative is that of the exact transform with P' in the place of the inverse,
    dQ = -2 P' dA P'. That of the series itself differs from it by the same order of
    q^(k+1), costs a product more for every order, and at order 0 would be zero. P is a
    constant: how it came about is no part of the map.

    Args:
        skew: the matrix A. Antisymmetry is assumed, not checked.
        inverse: the matrix P, of the shape and dtype of `skew`. Exact or approximate,
            for the residual R takes its error into account.
        order: the order k, at least 0, which leaves P as it is.
        largest_residual: the largest residual of the new inverse that is taken, at
            least 0; None for any.

    Returns:
        Q, orthogonal or unitary up to the error above, in the dtype of `skew`.

    Raises:
        ValueError: if the matrices are not both square, of one shape and one dtype of
            single or double precision, if `order` is no integer >= 0, or if
            `largest_residual` is negative or not finite.

    References:
        Mucllari, Zadorozhnyy, Pospisil, Nguyen & Ye, "Orthogonal Gated Recurrent Unit
        with Neumann-Cayley Transformation", Neural Computation, 2024,
        arXiv:2208.06496. Their series is in -P (A - A₀), which is R if P is exact;
        otherwise it keeps the error of P and adds to it at every step. Their diagonal
        matrix D is applied by the caller.
    """
    check_square("skew", skew)
    if inverse.shape != skew.shape or inverse.dtype != skew.dtype:
        raise ValueError(
            f"`inverse` must have the shape {skew.shape} and dtype {skew.dtype.name} "
            f"of `skew`, got {inverse.shape} and {inverse.dtype.name}."
        )
    check_integer("order", order)
    if largest_residual is not None:
        check_real("largest_residual", largest_residual, 0.0)
    return _transform(skew, inverse, order, largest_residual)


# Compiled as one: called op by op, the guard would compile at every call.
@functools.partial(jax.jit, static_argnums=(2, 3))
def _transform(
    skew: Array, inverse: Array, order: int, largest_residual: float | None
) -> Array:
    identity = jnp.eye(skew.shape[0], dtype=skew.dtype)
    return 2 * _updated_inverse(skew, inverse, order, largest_residual) - identity


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _updated_inverse(
    skew: Array, inverse: Array, order: int, largest_residual: float | None
) -> Array:
    identity = jnp.eye(skew.shape[0], dtype=skew.dtype)

    def residual(inverse: Array) -> Array:
        return identity - inverse - _matmul(inverse, skew)

    first, updated = residual(inverse), inverse
    for _ in range(order):
        updated = inverse + _matmul(first, updated)
    if largest_residual is None or skew.size == 0:
        return updated
    # So that NaN is not taken either.
    is_close = jnp.linalg.norm(residual(updated)) <= largest_residual
    return apply_if(~is_close, lambda _, skew: resolvent(skew), updated, skew)


@_updated_inverse.defjvp
def _updated_inverse_jvp(
    order: int,
    largest_residual: float | None,
    primals: tuple[Array, Array],
    tangents: tuple[Array, Array],
) -> tuple[Array, Array]:
    updated = _updated_inverse(*primals, order, largest_residual)
    return updated, -_matmul(_matmul(updated, tangents[0]), updated)
