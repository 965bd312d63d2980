"""Newton's method for a loop of states that flow into each other."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gradstab.dynamics._flow import flow_and_tangent
from gradstab.dynamics._vector_field import VectorField

SEGMENTS = 16
Shoot = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]


class Loop(NamedTuple):
    """States that cut a closed orbit into segments of equal length.

    Attributes:
        states: where the segments begin, shape (SEGMENTS, n).
        period: of all segments together.
        residual: the largest gap between the end of one and the next.
        tangents: the derivative of the flow along each.
    """

    states: Float[np.ndarray, "segments n"]
    period: float
    residual: float
    tangents: Float[np.ndarray, "segments n n"]


def shooter(field: VectorField, dtype: DTypeLike) -> Shoot:
    """Compiles where states get in given times, the derivative, and the speed there.

    Args:
        field: f.
        dtype: to compute in.

    Returns:
        A function of SEGMENTS states and as many durations.
    """

    @jax.jit
    def flow(states: Array, lengths: Array) -> tuple[Array, Array, Array]:
        # One by one: a solver of adaptive steps takes long to compile for a batch.
        ends, tangents = jax.lax.map(
            lambda pair: flow_and_tangent(field, *pair), (states, lengths)
        )
        return ends, tangents, jax.vmap(field)(ends)

    def shoot(states: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, ...]:
        found = flow(jnp.asarray(states, dtype), jnp.asarray(lengths, dtype))
        return tuple(np.asarray(x, np.float64) for x in found)

    return shoot


def close(
    shoot: Shoot,
    states: Float[np.ndarray, "segments n"],
    period: float,
    normal: Float[np.ndarray, " n"],
    error: float,
) -> Loop:
    """Moves states along a loop, and its period, until each flows into the next.

    Args:
        shoot: the flow.
        states: a guess of SEGMENTS states at equal times.
        period: a guess of the period.
        normal: across the plane that keeps the first state where it is along the flow.
        error: of the flow.

    Returns:
        The best loop that Newton's method found, with a residual that may be large.
    """
    count, n = states.shape
    start, guess = states[0], period
    section = np.zeros(count * n + 1)
    section[:n] = normal / np.linalg.norm(normal)
    best, since, steps = Loop(states, period, np.inf, np.zeros((count, n, n))), 0, 0
    # Whole steps, though the gaps may widen on the way: near a homoclinic orbit the
    # solution lies in a curved valley, which steps that only descend creep along.
    while since < 6 and steps < 60 and 0.2 * guess < period < 5 * guess:
        lengths = np.full(count, period / count)
        ends, tangents, velocities = shoot(states, lengths)
        misses = ends - np.roll(states, -1, axis=0)
        residual = float(np.max(np.linalg.norm(misses, axis=1)))
        if not np.isfinite(residual):
            break
        since, steps = since + 1, steps + 1
        if residual < 0.5 * best.residual:
            best, since = Loop(states, period, residual, tangents), 0
        system = np.zeros((count, n, count * n + 1))
        for k in range(count):
            system[k, :, k * n : (k + 1) * n] = tangents[k]
            after = (k + 1) % count * n
            system[k, :, after : after + n] -= np.eye(n)
            system[k, :, -1] = velocities[k] / count
        rows = np.vstack([system.reshape(count * n, -1), section])
        wanted = np.append(misses, (states[0] - start) @ section[:n])
        # The shortest step that closes to the flow's precision: along a family of
        # orbits, as conservative flows have them, errors would be magnified.
        step = np.linalg.lstsq(rows, -wanted, 10 * error)[0]
        states, period = states + step[:-1].reshape(count, n), period + step[-1]
    return best


def states_at(
    shoot: Shoot, loop: Loop, times: Float[np.ndarray, " times"]
) -> Float[np.ndarray, "times n"]:
    """Follows a loop to times in [0, period].

    Each from the segment's start before it: a whole lap would magnify the error of its
    start.

    Args:
        shoot: the flow.
        loop: the loop.
        times: of any number.

    Returns:
        The states there.
    """
    length = loop.period / SEGMENTS
    last = np.clip((times / length).astype(int), 0, SEGMENTS - 1)
    states, lengths = loop.states[last], np.maximum(times - last * length, 0)
    # As many at once as there are segments, for which the program is compiled.
    spare = -len(times) % SEGMENTS
    states = np.pad(states, ((0, spare), (0, 0))).reshape(-1, *loop.states.shape)
    lengths = np.pad(lengths, (0, spare)).reshape(-1, SEGMENTS)
    ends = [shoot(*batch)[0] for batch in zip(states, lengths, strict=True)]
    return np.concatenate(ends)[: len(times)]
