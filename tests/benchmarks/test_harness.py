import os
import subprocess
import sys

import pytest

from benchmarks._harness import Candidate, interleave, pin, spread, verdict


class FakeClock:
    """A candidate that takes a fixed time a call and notes when it is sampled."""

    def __init__(self, name, seconds, log):
        self.name, self.seconds, self.log = name, seconds, log

    def sample(self, calls):
        self.log.append((self.name, calls))
        return calls * self.seconds


def make_candidates(log, **seconds):
    return [
        Candidate(name, FakeClock(name, each, log).sample)
        for name, each in seconds.items()
    ]


def test_samples_alternate_and_last_long_enough():
    log = []
    candidates = make_candidates(log, quick=0.25, slow=3.0)
    samples = interleave(candidates, rounds=3, sample_seconds=1.0)
    assert samples == {"quick": [0.25] * 3, "slow": [3.0] * 3}
    assert log[-6:] == [("quick", 4), ("slow", 1)] * 3


def test_the_first_call_is_not_counted():
    seconds = iter([60.0, 2.0, 2.0, 2.0])
    compiles = Candidate("compiles", lambda calls: next(seconds))
    samples = interleave([compiles], rounds=2, sample_seconds=1.0)
    assert samples == {"compiles": [2.0, 2.0]}


def test_spread_is_half_the_interquartile_range():
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(1 / 3)
    assert spread([2.0]) == 0.0


@pytest.mark.parametrize(
    ("ratio", "goal", "text"),
    [
        (1.0, None, ""),
        (4.0, 4.0, "met"),
        (4.59, 4.0, "within 15%"),
        (4.61, 4.0, "NOT MET"),
    ],
)
def test_the_tolerance_is_spelled_out(ratio, goal, text):
    assert verdict(ratio, goal) == text


@pytest.mark.error_text
def test_more_cores_than_there_are():
    usable = len(os.sched_getaffinity(0))
    message = rf"`cores` must lie in \[1, {usable}\], got {usable + 1}\."
    with pytest.raises(ValueError, match=message):
        pin(usable + 1)


def test_the_worker_can_start_without_jax():
    code = "import sys, benchmarks._harness; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
