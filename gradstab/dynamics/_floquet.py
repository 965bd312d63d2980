"""What a period of a flow does to a small deviation."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Int

from gradstab._checks import check_integer
from gradstab.dynamics._flow import error_per_step, flow_and_tangent, in_own_unit
from gradstab.dynamics._periodic_orbit import PeriodicOrbit
from gradstab.dynamics._product_spectrum import eigenvalues_of_product
from gradstab.dynamics._vector_field import VectorField, check_field


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
    smallest number that there is. That of an M_k which contracts by c is c times the
    error of a step, so the cuts lie where the flow deforms about equally between them,
    as far as the samples of the orbit allow. Nearly equal moduli share a block. Costs
    O(segments n³) for each of up to 100 sweeps. Needs diffrax, of the extra `dynamics`.

    Args:
        field: f, a pure function of one state of shape (n,).
        orbit: the orbit, as `periodic_orbit` finds it. Its states begin the segments,
            so that errors do not grow from one to the next.
        segments: at most how many pieces, no more than the orbit has intervals; more
            where multipliers are very small.

    Returns:
        The multipliers, by falling modulus, the trivial one among them.

    Raises:
        ValueError: if an argument has another shape or dtype, or lies out of range, or
            `orbit` is none of `field`.
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
    cuts = _cuts(field, orbit, segments)
    starts, lengths = orbit.states[cuts[:-1]], jnp.diff(orbit.times[cuts])
    # In the orbit's own unit, which the solver's absolute error refers to.
    scaled, unit = in_own_unit(field, orbit.state)
    flow = jax.jit(
        lambda *pairs: jax.lax.map(lambda pair: flow_and_tangent(scaled, *pair), pairs)
    )
    ends, pieces = flow(starts / unit, lengths)
    pieces = np.asarray(pieces, np.float64)
    if not np.all(np.isfinite(pieces)):
        raise FloatingPointError("The flow along `orbit` could not be followed.")
    gap = float(jnp.max(jnp.abs(ends * unit - orbit.states[cuts[1:]])))
    size = float(jnp.max(jnp.abs(orbit.states)))
    limit = 10 * orbit.residual + 1e3 * error_per_step(starts.dtype) * size
    if gap > limit:
        raise ValueError(
            "`orbit` must be an orbit of `field`: what flows along it misses its next "
            f"state by {gap:.1e}, more than the {limit:.1e} of errors."
        )
    return eigenvalues_of_product(pieces)


def _cuts(
    field: VectorField, orbit: PeriodicOrbit, segments: int
) -> Int[np.ndarray, " ends"]:
    """Chooses samples between which the flow deforms about equally."""
    # Half of the measure is the integral of the norm of J, half is time.
    jacobians = jax.jit(jax.vmap(jax.jacfwd(field)))(orbit.states[:-1])
    rates = np.linalg.norm(np.asarray(jacobians, np.float64), axis=(1, 2))
    rates = np.where(np.isfinite(rates), rates, 0.0)
    passed = np.cumsum(np.append(0.0, rates + max(np.mean(rates), 1e-300)))
    goals = passed[-1] * np.linspace(0, 1, segments + 1)
    return np.unique(np.argmin(np.abs(passed[:, None] - goals), axis=0))
