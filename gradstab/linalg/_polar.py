"""The orthonormal polar factor: the nearest matrix with orthonormal columns or rows."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from gradstab._checks import check_matrix
from gradstab.linalg._largest import largest_modulus


@jax.jit
def polar(matrix: Inexact[Array, "n m"]) -> Inexact[Array, "n m"]:
    r"""Returns the nearest matrix with orthonormal columns, or rows when it is wide.

    .. math:: W = U V^H = A (A^H A)^{-1/2}, \qquad A = U S V^H

    Nearest in the Frobenius norm, and in every other unitarily invariant one. Reaches
    every matrix with orthonormal columns (rows); does not change when A is multiplied
    by a positive number. One thin SVD, O(n m min(n, m)).

    The derivative is that of W itself, never of U or V. So it is finite and accurate
    where singular values repeat: at the identity, at every other W. It has the factors
    1 / (s_i + s_j), and 1 / s_j for what leaves the range of a tall A: it is singular
    where a tall or wide A loses rank, and where a square A loses it twice. A factor
    counts as 0 where its denominator is at most min(n, m) * eps times the largest one.
    So the gradient is finite everywhere, and 0 at A = 0.

    Args:
        matrix: the matrix A, of any shape, real or complex.

    Returns:
        W in the dtype of `matrix`: WᴴW = I when A is square or tall, WWᴴ = I when it is
        wide. That holds at every finite A. Where A lacks full rank several matrices
        are nearest, and W is one of them. NaN throughout if A is not finite.

    Raises:
        ValueError: if `matrix` is not one matrix of single or double precision; use
            `jax.vmap` for a stack.

    References:
        Higham, "Computing the Polar Decomposition - with Applications", SIAM Journal
        on Scientific and Statistical Computing 7(4), 1986.
    """
    check_matrix("matrix", matrix)
    if matrix.shape[0] < matrix.shape[1]:
        return polar(matrix.mT.conj()).mT.conj()
    scaled, scale = normalize(matrix)
    left, values, right = singular_factors(scaled)
    # 1 for a finite matrix, NaN for any other.
    finite = (scale / scale).astype(matrix.dtype)
    return polar_of_factors(scaled, left, values, right) * finite


def normalize(
    matrix: Inexact[Array, "... n m"],
) -> tuple[Inexact[Array, "... n m"], Float[Array, ""]]:
    """Divides a matrix by the modulus of its largest entry, taken as a constant.

    Args:
        matrix: any matrix, or a stack of them, which have one divisor together.

    Returns:
        The quotient and the divisor, which is 1 for a matrix of zeros. Both are NaN
        throughout if the matrix is not finite.
    """
    largest = largest_modulus(lax.stop_gradient(matrix))
    # A subnormal divisor would be flushed to zero.
    divisor = jnp.where(largest < jnp.finfo(largest.dtype).tiny, 1, largest)
    divisor = jnp.where(jnp.isfinite(divisor), divisor, jnp.nan)
    return matrix / divisor.astype(matrix.dtype), divisor


def singular_factors(
    matrix: Inexact[Array, "n m"],
) -> tuple[Inexact[Array, "n m"], Float[Array, " m"], Inexact[Array, "m m"]]:
    """Returns U, s and V of a square or tall matrix U diag(s) Vᴴ, as constants.

    They are finite: NaN counts as 0, for some factorizations never return from it.
    """
    matrix = jnp.nan_to_num(lax.stop_gradient(matrix))
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    return left, values, right.mT.conj()


@jax.custom_jvp
def polar_of_factors(
    matrix: Inexact[Array, "n m"],
    left: Inexact[Array, "n m"],
    values: Float[Array, " m"],
    right: Inexact[Array, "m m"],
) -> Inexact[Array, "n m"]:
    """Returns U Vᴴ as a function of a square or tall A = U diag(s) Vᴴ alone.

    U, s and V are constants that belong to the present value of A. Derivatives of
    every order come from the equations that W solves, WᴴW = I and WᴴA = AᴴW; the
    factors only serve to solve these once they are linearized.
    """
    return product(left, right.mT.conj())


@polar_of_factors.defjvp
def _polar_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    matrix, _, values, right = primals
    change = tangents[0]
    factor: Array = polar_of_factors(*primals)
    adjoint = factor.mT.conj()
    stretch = product(adjoint, matrix)
    inner = product(adjoint, change)
    turn = solve_lyapunov(stretch, inner - inner.mT.conj(), right, values)
    if matrix.shape[0] == matrix.shape[1]:
        return factor, product(factor, turn)
    outer = _divide(change - product(factor, inner), stretch, right, values)
    return factor, product(factor, turn) + outer


def solve_lyapunov(
    matrix: Inexact[Array, "m m"],
    target: Inexact[Array, "m m"],
    vectors: Inexact[Array, "m m"],
    values: Float[Array, " m"],
) -> Inexact[Array, "m m"]:
    """Solves H X + X H = B for X, given the eigendecomposition of a Hermitian H >= 0.

    Args:
        matrix: H; its derivative is taken.
        target: B.
        vectors: eigenvectors of H, a constant.
        values: eigenvalues of H, a constant. Pairs whose sum is negligible add 0.

    Returns:
        The solution X.
    """

    def solve(vectors: Array, _: object, target: Array) -> Array:
        adjoint = vectors.mT.conj()
        inner = product(product(adjoint, target), vectors)
        inner = _divide_entries(inner, values[:, None] + values[None, :])
        return product(product(vectors, inner), adjoint)

    return lax.custom_linear_solve(
        lambda x: product(matrix, x) + product(x, matrix),
        target,
        partial(solve, vectors),
        partial(solve, vectors.conj()),
    )


def _divide(target: Array, matrix: Array, vectors: Array, values: Array) -> Array:
    """Solves X H = B in the manner of `solve_lyapunov`."""

    def solve(vectors: Array, _: object, target: Array) -> Array:
        inner = _divide_entries(product(target, vectors), values[None, :])
        return product(inner, vectors.mT.conj())

    return lax.custom_linear_solve(
        lambda x: product(x, matrix),
        target,
        partial(solve, vectors),
        partial(solve, vectors.conj()),
    )


def _divide_entries(entries: Array, divisors: Array) -> Array:
    count = divisors.shape[1]
    cutoff = count * jnp.finfo(divisors.dtype).eps * jnp.max(divisors, initial=0)
    kept = divisors > cutoff
    reciprocals = jnp.where(kept, 1 / jnp.where(kept, divisors, 1), 0)
    return entries * reciprocals.astype(entries.dtype)


def product(left: Array, right: Array) -> Array:
    """Multiplies matrices in full precision on every device."""
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)


def scale_columns(
    matrix: Inexact[Array, "*stack n m"], weights: Float[Array, "*stack m"]
) -> Inexact[Array, "*stack n m"]:
    """Multiplies each column of a matrix by its weight."""
    return matrix * weights[..., None, :].astype(matrix.dtype)
