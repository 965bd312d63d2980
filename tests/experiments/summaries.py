"""Summaries of runs that never took place."""

from dataclasses import replace
from typing import Any

from experiments.settings import MethodName
from experiments.summary import Summary


def summary(method: MethodName, *scores: float, **changes: Any) -> Summary:
    """Makes the summary of a method whose seeds had these scores."""
    plain = Summary(
        method=method,
        scores=scores,
        best_steps=(1,) * len(scores),
        diverged=0,
        worst_loss=(1.0,) * len(scores),
        largest_norm=(1.0,) * len(scores),
        parameters=1,
        seconds=1.0,
        milliseconds_per_step=1.0,
        waiting=0.01,
        gradient=(1e-5, 1.0),
        orthogonality=None,
        overshoot=None,
    )
    return replace(plain, **changes)
