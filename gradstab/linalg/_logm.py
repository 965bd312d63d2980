"""The logarithm of unitary matrices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact

from gradstab._checks import check_square

_matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)

_STEPS = 100


def logm_orthogonal(q: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    r"""Finds the skew-Hermitian matrix of least norm whose exponential is Q.

    .. math:: \exp(A) = Q, \qquad A^H = -A, \qquad |A|_2 \le \pi

    The principal logarithm, and a right inverse of `expm_skew`; after `expm_skew` it
    returns A where |A|₂ < π. A plane turned by exactly π has two logarithms of least
    norm, and the one returned is arbitrary. A real Q of determinant -1 has an
    eigenvalue -1 of odd multiplicity and no real logarithm: the result is NaN.

    With cosine C = (Q + Qᴴ) / 2, sine S = (Q - Qᴴ) / 2 and J the unitary polar factor
    of S, A = S f(C) + π J w(C), where w rises from 0 to 1 as the turn grows beyond a
    right angle and f takes what remains, so that neither loses digits near a half turn.
    One Hermitian eigendecomposition of C and some tens of matrix products for J, O(n³).

    The derivative inverts that of the exponential in a complex basis of eigenvectors.
    It is singular where two eigenvalues of A differ by 2πi, that is at half turns, and
    of first order only: a second one passes through the eigenvectors, whose derivative
    is not finite where turns coincide.

    Args:
        q: the unitary matrix Q; orthogonality is assumed, not checked.

    Returns:
        A with Aᴴ = -A exactly, in the dtype of `q`. The identity gives zero exactly.

    Raises:
        ValueError: if `q` is not one square matrix of single or double precision.
    """
    check_square("q", q)
    return q if q.shape[0] == 0 else _principal(q)


# Compiled as one: called op by op, its loop would compile at every call.
@jax.jit
def _principal(q: Array) -> Array:
    return _logarithm(q)


@jax.custom_jvp
def _logarithm(q: Array) -> Array:
    cosines, basis = jnp.linalg.eigh((q + q.mT.conj()) / 2)
    sine = _skew_part((q - q.mT.conj()) / 2)
    sine = _skew_part(_matmul(basis.mT.conj(), _matmul(sine, basis)))
    # In this basis |S| is diagonal, up to rounding, where turns differ.
    sines = jnp.linalg.norm(sine, axis=0)
    weight = jnp.clip(-2 * cosines, 0, 1)
    half_turn = _half_turn(sine, cosines, weight)
    acute = jnp.arctan2(sines, jnp.abs(cosines))
    rest = jnp.where(cosines < 0, jnp.pi * (1 - weight) - acute, acute)
    factor = jnp.where(
        sines > 0, rest / jnp.where(sines > 0, sines, 1), jnp.ones_like(rest)
    )
    inner = sine * _mean(factor).astype(q.dtype)
    inner = inner + jnp.pi * half_turn * _mean(weight).astype(q.dtype)
    return _skew_part(_matmul(basis, _matmul(inner, basis.mT.conj())))


@_logarithm.defjvp
def _logarithm_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (q,), (dq,) = primals, tangents
    log = _logarithm(q)
    turn = _skew_part(_matmul(q.mT.conj(), dq))
    complex_dtype = np.result_type(q.dtype, np.complex64)
    angles, basis = jnp.linalg.eigh(-1j * log.astype(complex_dtype))
    gap = angles[:, None] - angles[None, :]
    # Qᴴ dQ = (1 - exp(-ad A)) / ad A of dA, and ad A has the eigenvalues i gap.
    inverse = jnp.exp(0.5j * gap.astype(complex_dtype))
    inverse = inverse / jnp.sinc(gap / (2 * jnp.pi)).astype(complex_dtype)
    adjoint = basis.mT.conj()
    inner = _matmul(adjoint, _matmul(turn.astype(complex_dtype), basis))
    dlog = _matmul(basis, _matmul(inverse * inner, adjoint))
    return log, dlog if jnp.iscomplexobj(q) else dlog.real


def _half_turn(sine: Array, cosines: Array, weight: Array) -> Array:
    """Returns the polar factor J of S on the eigenvectors of C with positive weight.

    Newton-Schulz steps, J -> J (3 I + J²) / 2, of matrices that are made exactly skew:
    an arbitrary rounding error of half turns would leave their J orthogonal, not skew.
    All of J is NaN if those eigenvectors do not reach a unitary J.
    """
    eps = float(jnp.finfo(sine.dtype).eps)
    # The bound lies where no angle of a small rational number of turns has its cosine:
    # eigenvectors of one plane should not fall on both sides.
    wide = (cosines < 0.3123).astype(sine.dtype)
    near_half = (cosines < -1 + 1e3 * eps).astype(sine.dtype)
    seed = 4 * eps * _generic_skew(sine.shape[0], sine.dtype)
    start = sine * _outer(wide) + seed * _outer(near_half)
    used = _outer(weight > 0)
    identity = jnp.eye(sine.shape[0], dtype=sine.dtype)

    def defect(half_turn: Array) -> Array:
        error = jnp.abs(identity + _matmul(half_turn, half_turn))
        return jnp.max(jnp.where(used, error, 0))

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        half_turn, _, steps = state
        square = _matmul(half_turn, half_turn)
        half_turn = _skew_part(1.5 * half_turn + _matmul(half_turn, square) / 2)
        return half_turn, defect(half_turn), steps + 1

    def pending(state: tuple[Array, Array, Array]) -> Array:
        return (state[1] > limit) & (state[2] < _STEPS)

    limit = 10 * eps * sine.shape[0] ** 0.5
    state = start, defect(start), jnp.asarray(0)
    half_turn, error, _ = lax.while_loop(pending, step, state)
    return jnp.where(error <= limit, half_turn, jnp.full_like(half_turn, jnp.nan))


def _generic_skew(n: int, dtype: DTypeLike) -> Array:
    draws = np.random.default_rng(n).standard_normal((2, n, n))
    real = draws[0] - draws[0].T
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.asarray((real + 1j * (draws[1] + draws[1].T)).astype(dtype))
    return jnp.asarray(real.astype(dtype))


def _outer(vector: Array) -> Array:
    return vector[:, None] * vector[None, :]


def _mean(vector: Array) -> Array:
    return (vector[:, None] + vector[None, :]) / 2


def _skew_part(matrix: Array) -> Array:
    return (matrix - matrix.mT.conj()) / 2
