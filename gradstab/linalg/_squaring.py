"""Repeated squaring of a unitary matrix, as often as the data ask for."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact, Int

from gradstab.linalg._conditional import apply_if

_matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)

_POLISH_EVERY = 8  # the error doubles each time, and must stay small enough to mend
_SECOND_ORDER_LIMIT = 64


@jax.custom_jvp
def square_repeatedly(
    q: Inexact[Array, "n n"], times: Int[Array, ""]
) -> Inexact[Array, "n n"]:
    r"""Squares a unitary matrix a number of times that may be traced.

    .. math:: P = Q^{2^s}

    One product a time, and a Newton-Schulz step of two products at the end and every
    eighth time, because each squaring doubles the distance from unitary. The derivative
    is that of the squarings, two products a time and one to compute the powers anew.
    Second derivatives know of the first 64 squarings only.

    Args:
        q: the matrix Q, unitary to within a small multiple of its eps.
        times: the number s.

    Returns:
        P, or `q` itself for no squaring.
    """
    squared, _ = lax.while_loop(
        lambda state: state[1] < times,
        lambda state: (_next_power(*state), state[1] + 1),
        (q, jnp.zeros_like(times)),
    )
    return apply_if(times > 0, _newton_schulz, squared)


@square_repeatedly.defjvp
def _square_repeatedly_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    return square_repeatedly(*primals), _derivative(*primals, tangents[0])


def _derivative(q: Array, times: Array, direction: Array) -> Array:
    r"""Returns the derivative D of Q^(2ˢ) in a direction E.

    D is the product of the maps E -> P E + E P over the powers P = Q^(2ᵏ), k < s. They
    commute, so that the transpose takes the powers of Qᵀ in the same order, and none
    has to be kept.

    JAX does not transpose a loop of traced length. It does transpose the solution of
    linear equations, by a function that may be given. Those of

    .. math::
        \begin{pmatrix} I & -D \\ 0 & I \end{pmatrix} x =
        \begin{pmatrix} 0 \\ E \end{pmatrix}

    have the solution (D E, E); their matrix is only read to differentiate once more.
    """

    def matrix(x: tuple[Array, Array]) -> tuple[Array, Array]:
        return x[0] - _along_by_scan(q, times, x[1]), x[1]

    def solve(_: object, b: tuple[Array, Array]) -> tuple[Array, Array]:
        return b[0] + _along(q, times, b[1]), b[1]

    def transpose_solve(_: object, b: tuple[Array, Array]) -> tuple[Array, Array]:
        return b[0], b[1] + _along(q.mT, times, b[0])

    # Both parts must depend on the direction, lest JAX refuse to transpose.
    right = 0 * direction, direction
    return lax.custom_linear_solve(matrix, right, solve, transpose_solve)[0]


def _along(q: Array, times: Array, direction: Array) -> Array:
    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        power, k, direction = state
        direction = _matmul(power, direction) + _matmul(direction, power)
        power = apply_if(k + 1 < times, _next_power, power, k)
        return power, k + 1, direction

    start = q, jnp.zeros_like(times), direction
    return lax.while_loop(lambda state: state[1] < times, step, start)[2]


def _along_by_scan(q: Array, times: Array, direction: Array) -> Array:

    def square(power: Array, direction: Array) -> tuple[Array, Array]:
        direction = _matmul(power, direction) + _matmul(direction, power)
        return _matmul(power, power), direction

    def step(state: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
        keep = lambda *state: state  # noqa: E731
        return lax.cond(k < times, square, keep, *state), None

    levels = jnp.arange(_SECOND_ORDER_LIMIT, dtype=times.dtype)
    return lax.scan(step, (q, direction), levels)[0][1]


def _next_power(power: Array, k: Array) -> Array:
    squared = _matmul(power, power)
    return apply_if(k % _POLISH_EVERY == _POLISH_EVERY - 1, _newton_schulz, squared)


def _newton_schulz(q: Array) -> Array:
    identity = jnp.eye(q.shape[0], dtype=q.dtype)
    return q + _matmul(q, identity - _matmul(q.mT.conj(), q)) / 2
