"""The spectral radius: the largest modulus of an eigenvalue."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, Inexact

from gradstab._checks import check_square
from gradstab.linalg._dominant_eigenvalue import (
    Eigen,
    dominant_eigenvalue,
    is_simple,
    sharpen,
    squared_power,
    to_unit,
)
from gradstab.linalg._polar import normalize, product

# Up to this size LAPACK's eigensolver costs no more than the iteration.
_SMALL = 32
_BOUND_SQUARINGS = 16


@jax.jit
def spectral_radius(matrix: Inexact[Array, "n n"]) -> Float[Array, ""]:
    r"""Returns the largest modulus of an eigenvalue of a square matrix.

    .. math:: \rho(A) = \max_i |\lambda_i(A)| = \lim_k \|A^k\|_F^{1/k}

    Eight squarings of A, the normalized power applied to blocks of max(16, n / 32)
    columns and rows, and Rayleigh-Ritz give an eigenvalue λ with its right and left
    eigenvectors x and y, Ax = λx and yᴴA = λyᴴ. It is taken if at most two eigenvalues
    share the largest modulus and both residuals are at rounding level. For n <= 32,
    and where that fails (for an orthogonal matrix, say), a CPU takes LAPACK's
    eigenvalues: 8 times as long at n = 512. Other devices then return the bound below.
    O(n³) in each case. Under `jax.vmap` on a CPU, one matrix of a stack that fails
    sends the whole stack to LAPACK; on other devices the bound is then computed always.

    On which side the error is matters where the radius divides: too large a value only
    contracts, too small a one leaves a radius above 1.

    - An eigenvalue, of either origin, is off by rounding to either side: by up to some
      tens of eps |A| / |yᴴx|, with unit vectors (for a Gaussian matrix in float32 less
      than 1e-6 relative), and at a defective eigenvalue, which has yᴴx = 0, by a root
      of eps.
    - The bound is :math:`\|A^{2^{16}}\|_F` to the power :math:`2^{-16}`, never too
      small but for rounding (and for a radius below \|A\| times the smallest
      number), and too large by less than 1e-4 relative for every normal matrix.

    The gradient is that of |λ|, Re(λ̄/|λ| yᴴdA x / yᴴx), and that of the bound where the
    bound is returned. Several eigenvalues of largest modulus make the radius a maximum
    with a kink: the gradient is that of one of them. At a defective eigenvalue the
    derivative is infinite; below |yᴴx| = sqrt(eps), y counts as x, which gives a
    gradient of norm 1. At radius 0, of a zero or nilpotent matrix, the gradient is 0.
    Second derivatives are those of a simple eigenvalue.

    Args:
        matrix: the matrix A, real or complex.

    Returns:
        A real scalar in the precision of `matrix`: 0 for an empty matrix, NaN if A is
        not finite.

    Raises:
        ValueError: if `matrix` is not one square matrix of single or double precision;
            use `jax.vmap` for a stack.

    References:
        Golub & Van Loan, "Matrix Computations", 4th edition, 2013, chapter 7, on
        orthogonal iteration and on the sensitivity of an eigenvalue.
    """
    check_square("matrix", matrix)
    if matrix.size == 0:
        return jnp.zeros((), jnp.finfo(matrix.dtype).dtype)
    scaled, scale = normalize(matrix)
    # A general eigensolver is sure to exist on a CPU only.
    return scale * lax.platform_dependent(
        scaled, cpu=_radius_with_eigensolver, default=_radius_without_eigensolver
    )


def _radius_with_eigensolver(matrix: Array) -> Array:
    constant = jnp.nan_to_num(lax.stop_gradient(matrix))
    if matrix.shape[0] <= _SMALL:
        return _modulus(matrix, _solve(constant))
    eigen, certified = dominant_eigenvalue(constant)
    return _modulus(matrix, _certify(certified, eigen, constant))


def _radius_without_eigensolver(matrix: Array) -> Array:
    eigen, certified = dominant_eigenvalue(jnp.nan_to_num(lax.stop_gradient(matrix)))
    return lax.cond(
        certified,
        lambda matrix: _modulus(matrix, eigen),
        # Recomputed in the backward pass: kept, it would take memory in both branches.
        jax.checkpoint(lambda matrix: squared_power(matrix, _BOUND_SQUARINGS)[1]),
        matrix,
    )


@jax.custom_jvp
def _modulus(matrix: Array, eigen: Eigen) -> Array:
    """Returns the modulus of an eigenvalue as a function of A alone."""
    return jnp.abs(eigen.value)


@_modulus.defjvp
def _modulus_jvp(
    primals: tuple[Array, Eigen], tangents: tuple[Array, Eigen]
) -> tuple[Array, Array]:
    matrix, change = primals[0], tangents[0]
    value, left, right = _follow(*primals)
    phase, _ = to_unit(value.conj())
    overlap = _inner(left, right)
    simple = is_simple(overlap)
    left = jnp.where(simple, left, right)
    right = right * (phase / jnp.where(simple, overlap, jnp.ones_like(overlap)))
    left, right = _columns(left, matrix), _columns(right, matrix)
    return jnp.abs(value), jnp.real(_inner(left, product(change, right)))


def _columns(vector: Array, matrix: Array) -> Array:
    """Returns a vector as a column, or its real and imaginary part if A is real."""
    if jnp.iscomplexobj(matrix):
        return vector[:, None]
    return jnp.stack([jnp.real(vector), jnp.imag(vector)], axis=1)


def _inner(left: Array, right: Array) -> Array:
    return jnp.vdot(left, right, precision=lax.Precision.HIGHEST)


@jax.custom_jvp
def _follow(matrix: Array, eigen: Eigen) -> Eigen:
    """Returns an eigentriple as a function of A, for derivatives of the gradient."""
    return eigen


@_follow.defjvp
def _follow_jvp(
    primals: tuple[Array, Eigen], tangents: tuple[Array, Eigen]
) -> tuple[Eigen, Eigen]:
    eigen: Eigen = _follow(*primals)
    matrix = primals[0].astype(eigen.right.dtype)
    change = tangents[0].astype(eigen.right.dtype)

    def move(matrix: Array, change: Array, value: Array, vector: Array, fixed: Array):
        # (A + dA - λ - dλ)(x + dx) = 0 to first order, bordered by yᴴdx = 0.
        shifted = matrix - value * jnp.eye(len(vector), dtype=matrix.dtype)
        corner = jnp.zeros((1, 1), matrix.dtype)
        bordered = jnp.block([
            [shifted, -vector[:, None]],
            [fixed.conj()[None], corner],
        ])
        target = jnp.append(-product(change, vector[:, None])[:, 0], corner[0])
        solution = jnp.linalg.solve(bordered, target)
        return solution[:-1], solution[-1]

    value, left, right = eigen
    right_change, value_change = move(matrix, change, value, right, left)
    adjoint, adjoint_change = matrix.mT.conj(), change.mT.conj()
    left_change, _ = move(adjoint, adjoint_change, value.conj(), left, right)
    return eigen, Eigen(value_change, left_change, right_change)


@custom_vmap
def _certify(certified: Array, eigen: Eigen, matrix: Array) -> Eigen:
    """Replaces by LAPACK's what the iteration found, if any in a stack is uncertain."""
    return lax.cond(jnp.all(certified), lambda: eigen, lambda: _solve(matrix))


@_certify.def_vmap
def _certify_stack(
    axis_size: int, in_batched: list[object], *arguments: object
) -> tuple[Eigen, Eigen]:
    # Mapped over a stack, `cond` would compute both sides for each matrix.
    eigen: Eigen = _certify(*arguments)
    return eigen, jax.tree.map(lambda _: True, eigen)


def _solve(matrix: Array) -> Eigen:
    """Returns the dominant eigentriple of each matrix in a stack by LAPACK."""
    values, lefts, rights = lax.linalg.eig(matrix, compute_left_eigenvectors=True)
    index = jnp.argmax(jnp.abs(values), axis=-1, keepdims=True)
    value = jnp.take_along_axis(values, index, axis=-1)[..., 0]
    left = jnp.take_along_axis(lefts, index[..., None, :], axis=-1)
    right = jnp.take_along_axis(rights, index[..., None, :], axis=-1)
    image = product(matrix.astype(right.dtype), right)
    value = sharpen(value, left, right, image)
    return Eigen(value, left[..., 0], right[..., 0])
