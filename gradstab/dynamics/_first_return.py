"""Where a path comes back to a place that it has passed."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gradstab.dynamics._flow import Path, error_per_step


class Lap(NamedTuple):
    """A piece of a path that nearly closes.

    Attributes:
        start: when it begins, at the place where the path was fastest.
        period: how long it takes.
        passes: how often the path crosses the section on the way, the end included.
    """

    start: float
    period: float
    passes: int


def returns(path: Path, max_period: float) -> Iterator[Lap]:
    """Finds the laps after which a path is about as near its start as it ever is.

    Poincaré's section is the plane across the flow where it was fastest. How far a lap
    misses is measured on the section itself, by the cubic through the steps: measured
    at the steps, a miss would say more of their length than of the lap.

    Args:
        path: what the flow passed through.
        max_period: the longest lap to look for.

    Yields:
        Laps that miss by at most twice the least miss, from the shortest on.
    """
    half = np.searchsorted(path.times, path.times[-1] / 2, side="right")
    first = int(np.argmax(np.linalg.norm(path.velocities[:half], axis=1)))
    anchor = path.states[first].astype(np.float64)
    normal = path.velocities[first].astype(np.float64)
    normal /= np.linalg.norm(normal)
    heights = (path.states - anchor) @ normal
    (rises,) = np.nonzero((heights[first:-1] < 0) & (heights[first + 1 :] >= 0))
    low, high = path.times[first + rises], path.times[first + rises + 1]
    for _ in range(53):  # halvings to the last bit
        middle = (low + high) / 2
        is_below = (interpolate(path, middle) - anchor) @ normal < 0
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    periods = high - path.times[first]
    misses = np.linalg.norm(interpolate(path, high) - anchor, axis=1)
    misses[periods > max_period] = np.inf
    # Below the slack all laps close alike; longer ones may be several of the same.
    size = size_of(path.states)
    slack = max(1e-4, 1e3 * error_per_step(path.states.dtype)) * size
    limit = min(2 * np.min(misses, initial=np.inf) + slack, size / 5)
    for i in np.flatnonzero(misses <= limit):
        yield Lap(float(path.times[first]), float(periods[i]), int(i) + 1)


def interpolate(
    path: Path, times: Float[np.ndarray, " times"]
) -> Float[np.ndarray, "times n"]:
    """Evaluates the cubics through the states and velocities of a path (Hermite's).

    Args:
        path: at least two steps of it.
        times: within the path.

    Returns:
        The states there, in double precision.
    """
    before = np.searchsorted(path.times, times, side="right") - 1
    before = np.clip(before, 0, len(path.times) - 2)
    length = (path.times[before + 1] - path.times[before])[:, None]
    share = (times - path.times[before])[:, None] / length
    here, there = path.states[before], path.states[before + 1]
    leave, arrive = (
        length * path.velocities[before],
        length * path.velocities[before + 1],
    )
    rest = 1 - share
    ends = rest**2 * (1 + 2 * share) * here + share**2 * (1 + 2 * rest) * there
    return ends + share * rest * (rest * leave - share * arrive)


def distance(
    points: Float[np.ndarray, "points n"], line: Float[np.ndarray, "corners n"]
) -> float:
    """Measures how far the farthest of some points lies from a polygonal line."""
    sides = np.diff(line, axis=0)
    squares = np.maximum(np.sum(sides**2, axis=1), np.finfo(np.float64).tiny)
    farthest = 0.0
    for point in points:
        away = point - line[:-1]
        share = np.clip(np.sum(away * sides, axis=1) / squares, 0, 1)[:, None]
        nearest = np.min(np.linalg.norm(away - share * sides, axis=1))
        farthest = max(farthest, float(nearest))
    return farthest


def size_of(states: Float[np.ndarray, "times n"]) -> float:
    """Returns the longest side of the box around some states."""
    return float(np.max(np.ptp(states, axis=0)))
