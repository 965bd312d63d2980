"""The Cayley transform between skew-Hermitian and unitary matrices."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Inexact

from gradstab._checks import check_square
from gradstab.linalg._block_inverse import block_inverse
from gradstab.linalg._conditional import apply_if
from gradstab.linalg._largest import largest_modulus
from gradstab.linalg._probe import sign_vectors

_matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)

_NEWTON_STEPS = 2
_ERROR_LIMIT = 5.0  # of a row of the inverse, in eps √n; leaves a ratio below 15


def cayley(skew: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    r"""Maps a skew-Hermitian matrix to a unitary one, a skew-symmetric to a rotation.

    .. math:: Q = (I + A)^{-1} (I - A) = 2 (I + A)^{-1} - I, \qquad A^H = -A

    Reaches every unitary matrix, and every rotation, that has no eigenvalue -1: an
    eigenvalue i t of A turns by -2 atan(t), so that -1 is the limit of large A.

    O(n³): one inverse by blocks, which are matrix products, and two products more for
    a gradient. An estimate of its error guards it. Where |A|₂ exceeds about 30, one or
    two Newton steps of two products each restore full accuracy; where rounding A hides
    its small eigenvalues, past about 10⁴ in float32, a singular value decomposition
    takes over, some twenty times as dear, and a Q remains that is orthogonal for any
    finite A. Under `jax.vmap` a stack pays for these as soon as one of its matrices
    needs them, and otherwise does not.

    The derivative is dQ = -2 X dA X with X = (I + A)⁻¹. It is nowhere singular and
    vanishes like 1/|A|² along large eigenvalues: large A learns slowly.

    Args:
        skew: the matrix A. Antisymmetry is assumed, not checked; see `skew`.

    Returns:
        Q with QᴴQ = I, and det Q = 1 if real, in the dtype of `skew`. Zero gives I
        exactly. A matrix that holds NaN or infinity gives a matrix of NaN.

    Raises:
        ValueError: if `skew` is not one square matrix of single or double precision.

    References:
        Helfrich, Willmott & Ye, "Orthogonal Recurrent Neural Networks with Scaled
        Cayley Transform", ICML 2018, arXiv:1707.09520, in whose sign A is taken here.
        Their scaling matrix D is applied by the caller. PyTorch and geotorch take
        (I - A/2)⁻¹ (I + A/2), which is the transform of -A/2.
    """
    check_square("skew", skew)
    return skew if skew.shape[0] == 0 else _transform(skew)


def inverse_cayley(q: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    r"""Finds the skew-Hermitian matrix whose Cayley transform is Q.

    .. math:: A = (I - Q) (I + Q)^{-1}

    One LU solve, O(n³). An eigenvalue -1 of Q has no finite preimage: the result and
    its gradient are then infinite, NaN or, by rounding, of the order of 1/eps. Near it
    the relative error grows like eps / |1 + λ|.

    Args:
        q: the unitary matrix Q; orthogonality is assumed, not checked.

    Returns:
        A with Aᴴ = -A exactly and `cayley(A)` = Q, in the dtype of `q`.

    Raises:
        ValueError: if `q` is not one square matrix of single or double precision.
    """
    check_square("q", q)
    return _inverse_transform(q)


# Compiled as one: called op by op, the guards would compile at every call.
@jax.jit
def _transform(skew: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    return 2 * resolvent(skew) - _identity(skew)


@jax.jit
def _inverse_transform(q: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    identity = _identity(q)
    # The two factors commute.
    preimage = jnp.linalg.solve(identity + q, identity - q)
    return (preimage - preimage.mT.conj()) / 2


@jax.custom_jvp
def resolvent(skew: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    """Returns (I + A)⁻¹, which unlike Q keeps its relative accuracy for large A."""
    inverse = block_inverse(_identity(skew) + skew)
    return apply_if(~_fits(inverse, skew), _repair, inverse, skew)


@resolvent.defjvp
def _resolvent_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    inverse = resolvent(*primals)
    return inverse, -_matmul(_matmul(inverse, tangents[0]), inverse)


def _fits(inverse: Array, skew: Array) -> Bool[Array, ""]:
    """Tells whether an approximate (I + A)⁻¹ is as accurate as its dtype allows."""
    eps = jnp.finfo(skew.dtype).eps
    vectors = sign_vectors(skew.shape[0], skew.dtype)
    image = _matmul(inverse, vectors)
    residual = vectors - image - _matmul(skew, image)
    error = largest_modulus(_matmul(inverse, residual))
    # An inverse may be so wrong that it annihilates its own residual.
    resolved = largest_modulus(residual) <= eps**0.5
    return resolved & (error <= _ERROR_LIMIT * eps * skew.shape[0] ** 0.5)


def _repair(inverse: Array, skew: Array) -> Array:
    def unfit(state: tuple[Array, Array, Array]) -> Array:
        return ~state[1] & (state[2] < _NEWTON_STEPS)

    def newton(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        inverse, _, steps = state
        residual = _identity(skew) - inverse - _matmul(skew, inverse)
        inverse = inverse + _matmul(inverse, residual)
        return inverse, _fits(inverse, skew), steps + 1

    start = inverse, jnp.asarray(False), jnp.asarray(0)
    inverse, fits, _ = lax.while_loop(unfit, newton, start)
    return apply_if(~fits, resolvent_by_polar_factor, inverse, skew)


def resolvent_by_polar_factor(_: Array, skew: Array) -> Array:
    """Returns (I + Q) / 2 with a Q that is unitary whatever the scale of A.

    I + A is normal, so that its unitary polar factor U has the eigenvalues
    (1 + i t) / |1 + i t|, and Q = (Uᴴ)². Singular vectors stay orthogonal where a solve
    divides by a pivot that is all rounding error.
    """
    identity = _identity(skew)
    scale = jnp.maximum(largest_modulus(skew), 1)
    finite = jnp.isfinite(scale)
    shifted = (identity + skew) / jnp.where(finite, scale, 1).astype(skew.dtype)
    left, _, right = jnp.linalg.svd(jnp.where(finite, shifted, identity))
    root = _matmul(left, right).mT.conj()
    half = (identity + _matmul(root, root)) / 2
    return jnp.where(finite, half, jnp.full_like(half, jnp.nan))


def _identity(like: Array) -> Array:
    return jnp.eye(like.shape[0], dtype=like.dtype)
