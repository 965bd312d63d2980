"""Clipping of singular values: the nearest matrix whose gains lie in an interval."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, Inexact

from gradstab._checks import check_matrix, check_real
from gradstab.linalg._polar import (
    normalize,
    polar_of_factors,
    product,
    scale_columns,
    singular_factors,
    solve_lyapunov,
)

# An eigenvalue of AᴴA carries an error of eps * max(s)², hence a singular value s a
# relative error of eps / 2 * (max(s) / s)². Past this ratio the SVD takes over.
_GRAM_RATIO = 4.0

Factors = tuple[
    Inexact[Array, "*stack n m"], Float[Array, "*stack m"], Inexact[Array, "*stack m m"]
]


@partial(jax.jit, static_argnames=("minimum", "maximum"))
def clip_singular_values(
    matrix: Inexact[Array, "n m"], *, minimum: float = 0.0, maximum: float
) -> Inexact[Array, "n m"]:
    r"""Returns the nearest matrix whose singular values lie in [minimum, maximum].

    .. math:: U \, \mathrm{diag}(\min(\max(s, minimum), maximum)) \, V^H,
        \qquad A = U \, \mathrm{diag}(s) \, V^H

    Nearest in the Frobenius norm. Reaches every matrix of the set, and returns a
    matrix that is in the set unchanged, to the last bit.

    For `minimum` 0, one product AᴴA and its eigendecomposition; the SVD where max(s) is
    more than 4 times `maximum`, which is where AᴴA has lost the singular values near
    `maximum`. For a positive `minimum`, the SVD. O(n m min(n, m)) in each case. Under
    `jax.vmap` one matrix that needs the SVD makes the whole stack take it.

    The derivative is that of the clipped matrix itself, never of U or V. So it is
    finite and accurate where singular values repeat. The map has a kink where a
    singular value equals a limit, and such a value counts as inside: the derivative
    there is that of the identity. A positive `minimum` is singular where `polar` is,
    and has the finite derivative described there; at `maximum` 0 the gradient is 0.

    Args:
        matrix: the matrix A, of any shape, real or complex.
        minimum: smallest singular value of the result, >= 0. A Python number.
        maximum: largest singular value of the result, >= `minimum`. A Python number.

    Returns:
        The clipped matrix in the dtype of `matrix`. Its singular values lie in the
        interval up to rounding, and zero singular values are lifted to `minimum` along
        an orthonormal completion of the singular vectors. NaN throughout if A is not
        finite.

    Raises:
        ValueError: if `matrix` is not one matrix of single or double precision; use
            `jax.vmap` for a stack. If a limit is negative or not finite, or `minimum`
            is larger than `maximum`.

    References:
        Kanai, Fujiwara & Iwamura, "Preventing Gradient Explosions in Gated Recurrent
        Units", NeurIPS 2017, use the clip at `maximum` as a projection.
    """
    check_matrix("matrix", matrix)
    check_real("maximum", maximum, low=0.0)
    check_real("minimum", minimum, low=0.0, high=maximum)
    if matrix.shape[0] < matrix.shape[1]:
        adjoint = matrix.mT.conj()
        clipped = clip_singular_values(adjoint, minimum=minimum, maximum=maximum)
        return clipped.mT.conj()
    scaled, scale = normalize(matrix)
    if maximum == 0:
        return 0 * scaled
    if minimum == 0:
        factors = _gram_factors(lax.stop_gradient(scaled), maximum / scale)
        clipped = _shrink(maximum, matrix, factors, scale)
    else:
        left, values, right = singular_factors(scaled)
        factors = scale_columns(left, values), values, right
        # s + minimum - min(s, minimum) is max(s, minimum), and so under the maximum.
        clipped = (
            minimum * polar_of_factors(scaled, left, values, right)
            - _shrink(minimum, matrix, factors, scale)
            + _shrink(maximum, matrix, factors, scale)
        )
    values = factors[1] * scale
    inside = jnp.all((values >= minimum) & (values <= maximum))
    return jnp.where(inside, matrix, clipped)


@custom_vmap
def _gram_factors(matrix: Array, limit: Array) -> Factors:
    """Returns A V, s and V of a square or tall A = U diag(s) Vᴴ, or of each in a stack.

    The singular values are accurate from `limit` up; the smaller ones need not be.
    """
    gram = jnp.nan_to_num(product(matrix.mT.conj(), matrix))
    squares, right = jnp.linalg.eigh(gram)
    values = jnp.sqrt(jnp.maximum(squares, 0))
    largest = jnp.max(values, axis=-1, initial=0)

    def exact() -> Factors:
        left, values, right = singular_factors(matrix)
        return scale_columns(left, values), values, right

    return lax.cond(
        jnp.any(largest > _GRAM_RATIO * limit),
        exact,
        lambda: (product(matrix, right), values, right),
    )


@_gram_factors.def_vmap
def _gram_factors_of_stack(
    axis_size: int, in_batched: list[bool], matrix: Array, limit: Array
) -> tuple[Factors, tuple[bool, bool, bool]]:
    # Mapped over a stack, `cond` would compute both sides for each matrix.
    return _gram_factors(matrix, limit), (True, True, True)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _shrink(maximum: float, matrix: Array, factors: Factors, scale: Array) -> Array:
    """Returns A h(AᴴA), h(s²) = min(1, maximum / s), as a function of A alone.

    The factors A V, s and V belong to A / scale; they and the scale are constants.
    """
    basis, values, right = factors
    weights = jnp.where(values > maximum / scale, maximum / _nonzero(values), scale)
    return product(scale_columns(basis, weights), right.mT.conj())


@_shrink.defjvp
def _shrink_jvp(
    maximum: float,
    primals: tuple[Array, Factors, Array],
    tangents: tuple[Array, Factors, Array],
) -> tuple[Array, Array]:
    matrix, factors, scale = primals
    basis, values, right = factors
    limit = maximum / scale
    nonzero = _nonzero(values)
    gains = jnp.where(values > limit, maximum / nonzero / scale, 1)
    left = scale_columns(basis, 1 / nonzero)
    slopes = _gain_slopes(values, maximum, scale)
    own, cross = (x.astype(basis.dtype) for x in slopes)

    def tangent(change: Array) -> Array:
        rotated = product(change, right)
        inner = product(left.mT.conj(), rotated)
        inner = product(left, own * inner + cross * inner.mT.conj())
        return product(scale_columns(rotated, gains) + inner, right.mT.conj())

    def shrink(matrix: Array) -> Array:
        scaled = matrix / scale.astype(matrix.dtype)
        gram = product(scaled.mT.conj(), scaled)
        return product(matrix, _gain(gram, values, right, limit))

    clipped: Array = _shrink(maximum, matrix, factors, scale)
    return clipped, _linear(
        tangent, lambda change: jax.jvp(shrink, (matrix,), (change,))[1], tangents[0]
    )


def _gain_slopes(values: Array, maximum: float, scale: Array) -> tuple[Array, Array]:
    """Divided differences of h(s²) = min(1, maximum / (s scale)) over pairs of squares.

    Returns:
        Them times the square of the first value of each pair, and times the product of
        both: ratios, which no scale takes out of range.
    """
    limit = maximum / scale
    outside = values > limit
    nonzero = _nonzero(values)
    first, second = nonzero[:, None], nonzero[None, :]
    high, low = jnp.maximum(first, second), jnp.minimum(first, second)
    share = first / (first + second)
    # No two close numbers are subtracted but for this ratio, which lies in [-1, 0].
    mixed = (limit - high) / _nonzero(high - low)

    def choose(both: Array, one: Array) -> Array:
        any_outside = outside[:, None] | outside[None, :]
        all_outside = outside[:, None] & outside[None, :]
        return jnp.where(all_outside, both, jnp.where(any_outside, one, 0))

    # The limit itself may underflow.
    own = choose(-maximum / second / scale * share, mixed * (first / high) * share)
    cross = choose(-maximum / (first + second) / scale, mixed * (low / (high + low)))
    return own, cross


def _gain(gram: Array, values: Array, vectors: Array, limit: Array) -> Array:
    """Returns h(AᴴA) composed of maps whose derivatives of every order are correct.

    It costs more than the closed form, and loses accuracy near the limit.
    """
    identity = jnp.eye(gram.shape[0], dtype=gram.dtype)
    excess = gram / (limit**2).astype(gram.dtype) - identity
    ratios = values / limit
    signed = scale_columns(vectors, jnp.where(ratios > 1, 1.0, -1.0))
    sign = polar_of_factors(excess, signed, jnp.abs(ratios**2 - 1), vectors)
    raised = identity + product((identity + sign) / 2, excess)
    return _inverse_root(raised, vectors, jnp.maximum(ratios, 1))


@jax.custom_jvp
def _inverse_root(matrix: Array, vectors: Array, roots: Array) -> Array:
    """Returns Z^(-1/2) for Z > 0 with given eigenvectors and roots of eigenvalues."""
    return product(scale_columns(vectors, 1 / roots), vectors.mT.conj())


@_inverse_root.defjvp
def _inverse_root_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    matrix, vectors, roots = primals
    inverse_root: Array = _inverse_root(*primals)
    # The derivative of Y Z Y = I, with Z Y = Z^(1/2).
    target = -product(product(inverse_root, tangents[0]), inverse_root)
    root = product(matrix, inverse_root)
    return inverse_root, solve_lyapunov(root, target, vectors, roots)


def _linear(
    evaluate: Callable[[Array], Array],
    derive: Callable[[Array], Array],
    argument: Array,
) -> Array:
    """Returns a linear map of an argument by one formula, its derivatives by another.

    The map L is posed as the solution (x, y) of x = argument, y - L x = 0. Derivatives
    with respect to what L depends on come from the equation, written with `derive`,
    which is not evaluated unless such a derivative is asked for.
    """

    def equation(pair: Array) -> Array:
        return jnp.stack([pair[0], pair[1] - derive(pair[0])])

    def solve(_: object, target: Array) -> Array:
        return jnp.stack([target[0], target[1] + evaluate(target[0])])

    def transpose_solve(_: object, target: Array) -> Array:
        (pulled,) = jax.linear_transpose(evaluate, argument)(target[1])
        return jnp.stack([target[0] + pulled, target[1]])

    # One array: a pair of which one half is constant has no transpose in JAX.
    target = jnp.stack([argument, jnp.zeros_like(argument)])
    return lax.custom_linear_solve(equation, target, solve, transpose_solve)[1]


def _nonzero(values: Array) -> Array:
    # The inverse of a subnormal number is infinite.
    return jnp.where(values >= jnp.finfo(values.dtype).tiny, values, 1)
