"""What a period of a flow does to a small deviation."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from gradstab._checks import check_integer
from gradstab.dynamics._flow import flow_and_tangent
from gradstab.dynamics._periodic_orbit import PeriodicOrbit
from gradstab.dynamics._vector_field import State, VectorField, check_field

_SWEEPS = 100


def floquet_multipliers(
    field: VectorField, orbit: PeriodicOrbit, *, segments: int = 32
) -> Complex[np.ndarray, " n"]:
    r"""Computes the Floquet multipliers of a periodic orbit of dh/dt = f(h).

    They are the eigenvalues of the monodromy matrix M(P), where

    .. math:: \frac{dM}{dt} = J(h(t)) M, \qquad M(0) = I

    One of them is 1: a shift along the orbit stays. The orbit is stable if the others
    lie inside the unit circle. A gradient sent back around it keeps the part along the
    left eigenvector of 1, and loses the rest at their rate.

    Multipliers below the rounding error of M(P) would be noise among its eigenvalues.
    So M is never formed: the period is cut into segments, whose matrices M_k stay well
    conditioned, and a frame is carried around the orbit by QR factorizations, M_k Q_k =
    Q_{k+1} R_k, until it comes back to itself. Then products of diagonal blocks of R_k
    give each multiplier to nearly the relative precision of the M_k, down to the
    smallest number that there is. Those of nearly equal modulus share a block. Costs
    O(segments n³) for each of up to 100 sweeps. Needs diffrax, of the extra `dynamics`.

    Args:
        field: f, a pure function of one state of shape (n,).
        orbit: the orbit, as `periodic_orbit` finds it. Its states begin the segments,
            so that errors do not grow from one to the next.
        segments: how many pieces, at most as many as the orbit has intervals; more
            where multipliers are very small.

    Returns:
        The multipliers, by falling modulus, the trivial one among them.

    Raises:
        ValueError: if an argument has another shape or dtype, or lies out of range.
        FloatingPointError: if the flow could not be followed.
        ModuleNotFoundError: without diffrax.

    References:
        Lust, "Improved numerical Floquet multipliers", International Journal of
        Bifurcation and Chaos 11, 2001.
    """
    if not isinstance(orbit, PeriodicOrbit):
        raise ValueError(
            "`orbit` must be a PeriodicOrbit, such as `periodic_orbit(...)` gives, got "
            f"{type(orbit).__name__}."
        )
    check_field(field, orbit.state)
    check_integer("segments", segments, 1, len(orbit.times) - 1)
    ends = np.linspace(0, len(orbit.times) - 1, segments + 1).astype(int)
    starts, lengths = orbit.states[ends[:-1]], jnp.diff(orbit.times[ends])

    def tangent(segment: tuple[State, Array]) -> Float[Array, "n n"]:
        return flow_and_tangent(field, *segment)[1]

    pieces = jax.jit(lambda *pairs: jax.lax.map(tangent, pairs))(starts, lengths)
    pieces = np.asarray(pieces, np.float64)
    if not np.all(np.isfinite(pieces)):
        raise FloatingPointError("The flow along `orbit` could not be followed.")
    return _eigenvalues_of_product(pieces)


def _eigenvalues_of_product(
    pieces: Float[np.ndarray, "pieces n n"],
) -> Complex[np.ndarray, " n"]:
    """Computes the eigenvalues of M_K ... M_1 by simultaneous iteration."""
    n = pieces.shape[-1]
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    values = np.zeros(n, complex)
    for _ in range(_SWEEPS):
        first, factors = frame, []
        for piece in pieces:
            frame, factor = np.linalg.qr(piece @ frame)
            factors.append(factor)
        # The last frame in terms of the first: block triangular once both agree.
        turn = first.T @ frame
        cuts = [0, *(i for i in range(1, n) if _is_small(turn[i:, :i])), n]
        before, values = values, []
        for low, high in zip(cuts[:-1], cuts[1:], strict=True):
            block = turn[low:high, low:high]
            for factor in reversed(factors):
                block = block @ factor[low:high, low:high]
            values.append(np.linalg.eigvals(block))
        values = np.concatenate(values).astype(complex)
        values = values[np.lexsort((np.imag(values), np.real(values), -np.abs(values)))]
        if np.all(np.abs(values - before) <= 1e-13 * np.abs(values)):
            break
    return values


def _is_small(block: Float[np.ndarray, "below above"]) -> bool:
    return bool(np.max(np.abs(block)) <= 1e-13)
