"""What is measured during a training, and how it is kept."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from experiments.settings import MethodName


class Measurement(NamedTuple):
    """What is known of each seed at one moment of the training."""

    step: int
    # Since the measurement before; NaN at first.
    loss: Float[np.ndarray, " seeds"]
    worst_loss: Float[np.ndarray, " seeds"]
    largest_norm: Float[np.ndarray, " seeds"]  # of a gradient, before any clipping
    score: Float[np.ndarray, " seeds"]  # on the validation set
    smallest_gradient: Float[np.ndarray, " seeds"]  # of ‖∂L/∂h_t‖ over time
    largest_gradient: Float[np.ndarray, " seeds"]


def curve(
    measurements: Sequence[Measurement],
) -> tuple[Int[np.ndarray, " count"], Float[np.ndarray, "count seeds"]]:
    """Gathers the steps and the scores of a training."""
    return (
        np.array([one.step for one in measurements]),
        np.stack([one.score for one in measurements]),
    )


def to_records(
    measurement: Measurement, task: str, method: MethodName, seeds: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Splits a measurement into one record for each seed, fit for JSON."""
    columns = zip(*measurement[1:], strict=True)
    return [
        {"task": task, "method": method, "seed": seed, "step": measurement.step}
        | {
            name: float(value) if math.isfinite(value) else None
            for name, value in zip(Measurement._fields[1:], values, strict=True)
        }
        for seed, values in zip(seeds, columns, strict=True)
    ]


def from_records(records: Sequence[Mapping[str, Any]], seeds: int) -> list[Measurement]:
    """Puts the records of one training together again.

    Args:
        records: one for each seed and measurement, in order.
        seeds: how many seeds there are.

    Returns:
        The measurements.

    Raises:
        ValueError: if a measurement lacks a seed.
    """
    groups = [
        list(group) for _, group in itertools.groupby(records, lambda one: one["step"])
    ]
    if any(len(group) != seeds for group in groups):
        raise ValueError("a measurement lacks a seed")
    return [
        Measurement(
            group[0]["step"],
            *(
                np.array([record[name] for record in group], np.float32)  # null is NaN
                for name in Measurement._fields[1:]
            ),
        )
        for group in groups
    ]
