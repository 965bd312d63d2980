"""Interleaved timing: all candidates of a comparison are sampled in turn, in one run.

A shared machine changes speed from second to second, so two times measured one after
the other make no ratio. Here every round samples each candidate once, a ratio is taken
within each round, and the median over the rounds is what is reported.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Clock = Callable[[], float]
Samples = Mapping[str, Sequence[float]]

TOLERANCE = 0.15


@dataclass(frozen=True)
class Candidate:
    """One program to be timed.

    Args:
        name: what the table calls it; unique within a comparison.
        sample: takes a number of calls and returns the seconds that they took together.
        temporary_bytes: memory that the program needs beside its inputs and outputs;
            0 where no compiler tells.
    """

    name: str
    sample: Callable[[int], float]
    temporary_bytes: int = 0


def pin(cores: int) -> None:
    """Confines this process, and those it starts, to the first cores it may use.

    Args:
        cores: how many.

    Raises:
        ValueError: if the process may not use so many.
    """
    usable = sorted(os.sched_getaffinity(0))
    if not 1 <= cores <= len(usable):
        raise ValueError(f"`cores` must lie in [1, {len(usable)}], got {cores}.")
    os.sched_setaffinity(0, usable[:cores])


def clock_for(cores: int) -> Clock:
    """Returns the clock that measures fairly on so many cores.

    On one core, the processor time of this process: what others do on a shared machine
    hardly moves it. On several, where idle threads are what matters, the time of day.
    """
    return time.process_time if cores == 1 else time.perf_counter


def timed(call: Callable[[], object], calls: int, clock: Clock) -> float:
    """Returns the seconds that a number of calls take."""
    start = clock()
    for _ in range(calls):
        call()
    return clock() - start


def interleave(
    candidates: Sequence[Candidate], *, rounds: int, sample_seconds: float
) -> Samples:
    """Samples every candidate in turn, round after round.

    Args:
        candidates: what to time.
        rounds: samples of each.
        sample_seconds: least duration of one sample, in seconds. A candidate is called
            as often as that takes.

    Returns:
        For each name the seconds of one call, one value a round.
    """
    calls = {c.name: _calls_that_fill(c, sample_seconds) for c in candidates}
    samples: dict[str, list[float]] = {c.name: [] for c in candidates}
    for _ in range(rounds):
        for c in candidates:
            samples[c.name].append(c.sample(calls[c.name]) / calls[c.name])
    return samples


def _calls_that_fill(candidate: Candidate, seconds: float) -> int:
    candidate.sample(1)  # compiles, allocates, warms the caches
    calls = 1
    while candidate.sample(calls) < seconds:
        calls *= 2
    return calls


def spread(values: Sequence[float]) -> float:
    """Returns half the interquartile range over the median, 0 for a single value."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, method="inclusive")
    return (high - low) / 2 / middle


def verdict(ratio: float, goal: float | None) -> str:
    """Says whether a ratio meets its goal, and whether only within the tolerance."""
    if goal is None:
        return ""
    if ratio <= goal:
        return "met"
    if ratio <= goal * (1 + TOLERANCE):
        return f"within {TOLERANCE:.0%}"
    return "NOT MET"
