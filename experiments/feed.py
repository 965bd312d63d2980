"""Batches from disk for every seed, and how long they were waited for."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from experiments.data.stream import BatchStream


class Feed:
    """Stacks the batches of all seeds.

    Args:
        stream: seed -> its batches.
        seeds: the seeds.
    """

    def __init__(self, stream: Callable[[int], BatchStream], seeds: tuple[int, ...]):
        self._streams = [stream(seed) for seed in seeds]
        self._iterators: list[Iterator[Any]] = []
        self._next = -1
        self._waits: list[float] = []

    def batch(self, number: int) -> Any:
        """Gives the batches of a step, with a leading axis of seeds."""
        if number != self._next:
            self._iterators = [one.starting_at(number) for one in self._streams]
        began = time.perf_counter()
        batches = [next(iterator) for iterator in self._iterators]
        self._waits.append(time.perf_counter() - began)
        self._next = number + 1
        return jax.tree.map(lambda *parts: np.stack(parts), *batches)

    @property
    def milliseconds(self) -> float:
        """The mean wait of a step, the first left out: it starts the readers."""
        return 1000 * float(np.mean(self._waits[1:] or [0.0]))
