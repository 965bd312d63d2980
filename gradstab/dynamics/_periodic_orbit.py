"""The closed orbit that a flow settles on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_positive, check_real
from gradstab.dynamics._flow import error_per_step, flow_and_tangent, trajectory
from gradstab.dynamics._integrators import RungeKutta
from gradstab.dynamics._vector_field import (
    State,
    VectorField,
    check_field,
    check_state,
)

_SAMPLES = 8192  # of the search for a return, within `max_period`
_SEGMENTS = 16
Shoot = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]


@dataclasses.dataclass(frozen=True)
class PeriodicOrbit:
    """A closed orbit of a flow.

    Attributes:
        state: a state h on it, shape (n,).
        period: P, the time after which it comes back.
        residual: the largest gap that is left in it.
        times: equally spaced from 0 to P, shape (samples + 1,).
        states: the orbit at `times`, from h on.
    """

    state: Float[Array, " n"]
    period: float
    residual: float
    times: Float[Array, " times"]
    states: Float[Array, "times n"]


def periodic_orbit(
    field: VectorField,
    start: State,
    *,
    settle: float = 200.0,
    max_period: float = 100.0,
    samples: int = 256,
) -> PeriodicOrbit:
    r"""Finds the periodic orbit of dh/dt = f(h) that a start settles on.

    The flow is followed for `settle`, then from a point a until it comes back through
    the plane across it (Poincaré's section). Newton's method then solves

    .. math:: \phi_{s_k P}(h_k) = h_{k+1}, \qquad h_{K+1} = h_1, \qquad
        f(a) \cdot (h_1 - a) = 0

    for the states h_k that cut the loop into K = 16 segments (multiple shooting) and
    the period P, with the derivative of the flow φ by its variational equation. So it
    closes loops that pass a saddle too near for one shot around. With `settle=0` and a
    start nearby, an unstable orbit is found as well. The period is the smallest at
    which the flow comes about as near its start as it ever does.

    The flow has an error of 1e-11 a step in double precision (Dormand and Prince's
    pair of orders 8 and 7); in single, of 2e-6, which blurs weakly stable orbits.
    Runs at once, not under `jax.jit`, and compiles for each call. Costs O(K³ n³) a
    step of Newton's. Needs diffrax, of the extra `dynamics`.

    Args:
        field: f, a pure function of one state of shape (n,).
        start: where to begin, near no fixed point.
        settle: for how long to follow the flow first.
        max_period: the longest period to look for.
        samples: intervals between the states that are returned.

    Returns:
        The orbit.

    Raises:
        ValueError: if no closed orbit was found: the flow comes to rest, or away, or
            not back within `max_period`, or Newton's method fails; and if an argument
            has another shape or dtype, or lies out of range.
        ModuleNotFoundError: without diffrax.
    """
    start = check_state("start", start)
    check_field(field, start)
    check_real("settle", settle, 0.0)
    check_positive("max_period", max_period)
    check_integer("samples", samples, 1)
    follow = jax.jit(lambda start, times: trajectory(field, start, times))
    shares = jnp.linspace(0, 1, 2 * _SAMPLES + 1, dtype=start.dtype)
    settled = follow(start, settle * shares)[-1] if settle else start
    # Twice the longest period: wherever the first half is left, it comes back.
    path = np.asarray(follow(settled, 2 * max_period * shares))
    length = max_period / _SAMPLES
    first, lap = _first_return(field, path, length)
    places = np.unique(np.linspace(0, np.floor(lap), _SEGMENTS).astype(int))
    nodes, shares = path[first + places], np.append(places / lap, 1.0)
    shoot = _shooter(field, start.dtype)
    normal = np.asarray(field(jnp.asarray(nodes[0])))
    nodes, starts, period, residual = _close(
        shoot, nodes, shares, lap * length, normal, _size(path)
    )
    times = np.linspace(0, period, samples + 1)
    # Each from the node before it: a whole lap would magnify the error of its start.
    last = np.searchsorted(starts, times, side="right") - 1
    states, lengths = nodes[last], times - starts[last]
    # As many at once as there are segments, for which the program is compiled.
    spare = -len(times) % len(places)
    states = np.pad(states, ((0, spare), (0, 0))).reshape(-1, *path[places].shape)
    lengths = np.pad(lengths, (0, spare)).reshape(-1, len(places))
    ends = [shoot(*batch)[0] for batch in zip(states, lengths, strict=True)]
    found = jnp.asarray(np.concatenate(ends)[: len(times)], start.dtype)
    times = jnp.asarray(times, start.dtype)
    return PeriodicOrbit(found[0], period, residual, times, found)


def _shooter(field: VectorField, kind: Any) -> Shoot:
    """Compiles where states get in given times, the derivative, and the speed there."""

    @jax.jit
    def flow(states: Array, lengths: Array) -> tuple[Array, Array, Array]:
        # One by one: a solver of adaptive steps takes long to compile for a batch.
        ends, tangents = jax.lax.map(
            lambda pair: flow_and_tangent(field, *pair), (states, lengths)
        )
        return ends, tangents, jax.vmap(field)(ends)

    def shoot(states: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, ...]:
        found = flow(jnp.asarray(states, kind), jnp.asarray(lengths, kind))
        return tuple(np.asarray(x, np.float64) for x in found)

    return shoot


def _first_return(
    field: VectorField, path: Float[np.ndarray, "times n"], length: float
) -> tuple[int, float]:
    """Finds a place on a path, and how many samples later it is passed again."""
    if not np.all(np.isfinite(path)):
        raise ValueError(
            "`start` settles on no periodic orbit: the flow left for infinity, or was "
            "too fast to follow."
        )
    size = _size(path)
    eps = float(np.finfo(path.dtype).eps)
    if size <= eps**0.5 * (1 + np.max(np.abs(path))):
        raise ValueError(
            "`start` settles on no periodic orbit: the flow came to rest at "
            f"{np.round(path[-1], 4).tolist()}."
        )
    # Where the flow is fast, it crosses the plane across it at a right angle.
    speeds = np.linalg.norm(np.diff(path, axis=0), axis=1)
    first = int(np.argmax(speeds[: len(path) // 2]))
    anchor, normal = path[first], np.asarray(field(jnp.asarray(path[first])))
    heights = (path[first + 1 :] - anchor) @ normal
    (rises,) = np.nonzero((heights[:-1] < 0) & (heights[1:] >= 0))
    misses = np.linalg.norm(path[first + 1 + rises] - anchor, axis=1)
    # The sample before the section lies up to a step from it.
    slack = np.max(speeds) + 5e-3 * size
    near = misses <= min(2 * np.min(misses, initial=np.inf) + slack, size / 5)
    if not np.any(near):
        raise ValueError(
            "`start` settles on no periodic orbit: the flow does not come back; a "
            "longer `settle` or `max_period` may help."
        )
    before = 1 + int(rises[np.argmax(near)])
    # The rest of the way to the section, to the precision of the path.
    state, rest = jnp.asarray(path[first + before]), 0.0
    for _ in range(4):
        at = RungeKutta(length)(field, state, rest) if rest else state
        height = float((np.asarray(at) - anchor) @ normal)
        rest -= height / float(np.asarray(field(at)) @ normal)
    return first, before + float(np.clip(rest / length, 1e-3, 1))


def _close(
    shoot: Shoot,
    states: Float[np.ndarray, "segments n"],
    places: Float[np.ndarray, " ends"],
    period: float,
    normal: Float[np.ndarray, " n"],
    size: float,
) -> tuple[Float[np.ndarray, "ends n"], Float[np.ndarray, " ends"], float, float]:
    """Moves states along a loop, and its period, until each flows into the next."""
    kind, (count, n) = states.dtype, states.shape
    states = states.astype(np.float64)
    start, guess, shares = states[0], period, np.diff(places)
    best, since, steps = (states, period, np.inf), 0, 0
    # Whole steps, though the gaps may widen on the way: near a homoclinic orbit the
    # solution lies in a curved valley, which steps that only descend creep along.
    while since < 6 and steps < 60 and 0.2 * guess < period < 5 * guess:
        ends, tangents, velocities = shoot(states, shares * period)
        misses = ends - np.roll(states, -1, axis=0)
        residual = float(np.max(np.linalg.norm(misses, axis=1)))
        if not np.isfinite(residual):
            break
        since, steps = since + 1, steps + 1
        if residual < 0.5 * best[2]:
            best, since = (states, period, residual), 0
        system = np.zeros((count, n, count * n + 1))
        for k in range(count):
            system[k, :, k * n : (k + 1) * n] = tangents[k]
            after = (k + 1) % count * n
            system[k, :, after : after + n] -= np.eye(n)
            system[k, :, -1] = shares[k] * velocities[k]
        section = np.zeros(count * n + 1)
        section[:n] = normal / np.linalg.norm(normal)
        rows = np.vstack([system.reshape(count * n, -1), section])
        wanted = np.append(misses, (states[0] - start) @ section[:n])
        step = np.linalg.lstsq(rows, -wanted)[0]
        states, period = states + step[:-1].reshape(count, n), period + step[-1]
    states, period, residual = best
    limit = 1e3 * error_per_step(jnp.dtype(kind)) * size
    if not (residual <= limit and _size(states) >= 0.1 * size):
        raise ValueError(
            "`start` settles on no periodic orbit that Newton's method finds: the loop "
            f"stays open by {residual:.1e}; a longer `settle` may help."
        )
    closed = np.vstack([states, states[:1]])
    return closed, places * period, float(period), residual


def _size(path: Float[np.ndarray, "times n"]) -> float:
    return float(np.max(np.ptp(path, axis=0)))
