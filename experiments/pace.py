"""How long a training step takes."""

import time
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

R = TypeVar("R")

STRETCH = 0.5  # seconds between two looks at signals and losses
TIMED_DRAWS = 20


class Pace:
    """The median time of a step over stretches of steps, compilation left out.

    Args:
        known: milliseconds a step, as measured before the run was stopped; or None.
    """

    def __init__(self, known: float | None = None):
        self._known = known
        self._paces: list[float] = []

    def time(self, stretch: Callable[[], R], steps: int) -> R:
        """Runs a stretch of steps and waits for its result."""
        began = time.perf_counter()
        result = jax.block_until_ready(stretch())
        self._paces.append(1000 * (time.perf_counter() - began) / steps)
        return result

    @property
    def steps_in_stretch(self) -> int:
        """How many steps make a stretch of half a second; 1 until that is known."""
        if len(self._paces) < 2:
            return 1
        return max(1, int(1000 * STRETCH / self._paces[-1]))

    @property
    def milliseconds(self) -> float | None:
        """The median, or what was known before; None if no step was ever timed."""
        # The first stretch compiles. The next, of a single step, is known to be short.
        timed = self._paces[2:] or self._paces[1:]
        return float(np.median(timed)) if timed else self._known


def time_draws(draw: Callable[[int], jax.Array]) -> float:
    """Returns the milliseconds that drawing the batches of one step takes.

    Args:
        draw: draws the batches of so many steps.
    """
    pace = Pace()
    pace.time(lambda: draw(1), 1)
    pace.time(lambda: draw(TIMED_DRAWS), TIMED_DRAWS)
    milliseconds = pace.milliseconds
    assert milliseconds is not None
    return milliseconds
