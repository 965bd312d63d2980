"""What is at rest and what turns in the four units of `gru_flows`, in numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gru_flows import (
    HOPF,
    SADDLES_AND_NODES,
    Field,
    homoclinic,
    plane,
    pseudo_line,
    single,
    turning,
)
from gradstab.dynamics import (
    FixedPoint,
    PeriodicOrbit,
    RungeKutta,
    fixed_points,
    grid_points,
    periodic_orbit,
    time_step,
)

SQUARE = ((-1.0, 1.0), (-1.0, 1.0))  # every state flows into it
NEAR_FOCUS = (-0.0229, -0.0078)  # 0.05 from the focus of P3
WEIGHTS = (3.0, 4.0)  # of P1, beside the pitchfork
# Largest speeds of P4 on |h₁| <= reach, to the two digits in which they are known.
SPEEDS = {0.2: 4.6e-5, 0.3: 3.5e-4, 0.5: 4.2e-3}
BESIDE = 1e-5  # from an angle at which P2 changes


@dataclass(frozen=True)
class Turn:
    """P2 at one angle.

    Attributes:
        angle: θ in radians.
        orbit: its limit cycle.
        plane_period: that of the flow of twice the speed.
        rests: its fixed points.
    """

    angle: float
    orbit: PeriodicOrbit
    plane_period: float
    rests: Sequence[FixedPoint]


@dataclass(frozen=True)
class Portraits:
    """What was found of P1 to P4.

    Attributes:
        pitchfork: the weight of P1 at which one fixed point becomes three.
        folds: for each weight the bias beyond which three become one.
        turns: P2 within its window of angles.
        window: the kinds of fixed points of P2 just below and just above each end.
        outside: whether P2 has a cycle below its window, and above.
        meeting: δ* of P3, where its saddle's unstable manifold comes back to it.
        rests: the fixed points of P3 at δ = δ*.
        rests_above: their kinds at δ* + 0.01.
        orbits: for each δ* - δ the cycle of P3.
        cycle_above: whether there is one at δ* and the least of these distances.
        line: the fixed points of P4.
        speeds: the largest along P4's line, for each reach.
    """

    pitchfork: float
    folds: Mapping[float, float]
    turns: Sequence[Turn]
    window: Mapping[float, tuple[list[str], list[str]]]
    outside: tuple[bool, bool]
    meeting: float
    rests: Sequence[FixedPoint]
    rests_above: Sequence[str]
    orbits: Mapping[float, PeriodicOrbit]
    cycle_above: bool
    line: Sequence[FixedPoint]
    speeds: Mapping[float, float]


def portraits(
    precision: float, angles: Sequence[float], distances: Sequence[float]
) -> Portraits:
    """Measures the four units; double precision has to be enabled.

    Args:
        precision: to which folds are bisected.
        angles: of P2, in degrees.
        distances: δ* - δ of P3.

    Returns:
        What was found.
    """

    def count(weight: float, bias: float) -> int:
        return len(fixed_points(single(weight, bias), grid_points([[-1, 1]], 21)))

    ends = SADDLES_AND_NODES, HOPF
    start = jnp.asarray(NEAR_FOCUS)
    delta = meeting()
    return Portraits(
        pitchfork=bisect(lambda u: count(u, 0.0) > 1, 1.5, 2.5, precision),
        folds={
            weight: bisect(lambda b, u=weight: count(u, b) < 3, 0.1, 0.7, precision)
            for weight in WEIGHTS
        },
        turns=[turn(math.radians(angle)) for angle in angles],
        window={
            end: (kinds(turning(end - BESIDE)), kinds(turning(end + BESIDE)))
            for end in ends
        },
        outside=(
            has_cycle(turning(ends[0] - 1e-3), jnp.asarray([0.3, 0.1])),
            has_cycle(turning(ends[1] + 1e-2), jnp.asarray([0.3, 0.1]), settle=2000.0),
        ),
        meeting=delta,
        rests=rests(homoclinic(delta)),
        rests_above=kinds(homoclinic(delta + 1e-2)),
        orbits={
            distance: periodic_orbit(homoclinic(delta - distance), start)
            for distance in distances
        },
        cycle_above=has_cycle(homoclinic(delta + min(distances)), start),
        line=rests(pseudo_line()),
        speeds={reach: fastest(pseudo_line(), reach) for reach in SPEEDS},
    )


def bisect(
    is_above: Callable[[float], Any], low: float, high: float, precision: float
) -> float:
    """Finds where an answer turns from no to yes.

    Args:
        is_above: the question, no at `low` and yes at `high`.
        low: one end.
        high: the other.
        precision: half the length of what is left in the end.

    Returns:
        Its middle.
    """
    while high - low > 2 * precision:
        middle = (low + high) / 2
        low, high = (low, middle) if is_above(middle) else (middle, high)
    return (low + high) / 2


def rests(field: Field) -> list[FixedPoint]:
    """Finds the fixed points of a unit: all lie in the square."""
    found = fixed_points(field, grid_points(SQUARE, 15))
    # Where a gate is shut to rounding, Newton's method sees rest outside too.
    return [point for point in found if np.all(np.abs(point.state) <= 1)]


def kinds(field: Field) -> list[str]:
    """Names the fixed points of a unit."""
    return [point.kind for point in rests(field)]


def turn(angle: float) -> Turn:
    """Measures the cycle of P2 at one angle in radians."""
    start = jnp.asarray([0.3, 0.1])
    orbit = periodic_orbit(turning(angle), start, settle=400.0)
    twin = periodic_orbit(plane(angle), start, settle=200.0)
    return Turn(angle, orbit, twin.period, rests(turning(angle)))


def has_cycle(field: Field, start: jax.Array, *, settle: float = 400.0) -> bool:
    """Tells whether a start settles on a cycle."""
    try:
        periodic_orbit(field, start, settle=settle, samples=1)
    except ValueError:
        return False
    return True


def meeting(precision: float = 1e-11) -> float:
    """Finds δ* of P3.

    Below it the unstable manifold of the saddle comes back within its stable one, and
    stays there; above it comes back without, and ends in the node.

    Args:
        precision: half the length of what is left of the search.

    Returns:
        δ*.
    """

    @jax.jit
    def is_above(delta: float) -> jax.Array:
        field = homoclinic(delta)
        saddle = jnp.asarray([-0.9251, -0.2424])
        for _ in range(6):
            jacobian = jax.jacfwd(field)(saddle)
            saddle = saddle - jnp.linalg.solve(jacobian, field(saddle))
        (a, b), (c, d) = jax.jacfwd(field)(saddle)
        growth = (a + d + jnp.sqrt((a - d) ** 2 + 4 * b * c)) / 2
        along = jnp.stack([b, growth - a])
        along = along * jnp.sign(along[1]) / jnp.linalg.norm(along)
        follow = time_step(field, 150.0, integrator=RungeKutta(0.005))
        end = follow(saddle + 1e-6 * along)
        return jnp.linalg.norm(end - jnp.asarray([-0.9996, -0.8241])) < 0.01

    return bisect(is_above, 0.1, 0.12, precision)


def fastest(field: Field, reach: float) -> float:
    """Returns the largest speed at (x, -x) for |x| up to a reach."""
    along = jnp.linspace(-reach, reach, 201)
    velocities = jax.vmap(field)(jnp.stack([along, -along], axis=1))
    return float(jnp.max(jnp.linalg.norm(velocities, axis=1)))


def slopes(orbits: Mapping[float, PeriodicOrbit]) -> list[float]:
    """Returns by how much the period grows for each tenth of the distance to δ*."""
    logs = -np.log10(list(orbits))
    return list(np.diff([one.period for one in orbits.values()]) / np.diff(logs))
