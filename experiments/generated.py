"""Tasks whose sequences are drawn from random keys, and read from nowhere."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from experiments.settings import TrainingSettings
from experiments.task import Batch

VALIDATION_KEY, TEST_KEY = 2**31, 2**31 + 1  # training draws from folded keys


@dataclass(frozen=True)
class GeneratedSettings(TrainingSettings):
    """Settings of a task that is generated.

    Attributes:
        length: T, which the title of the task explains.
        validation_sequences: sequences that are validated on.
        test_sequences: sequences that are tested on.
    """

    length: int = 200
    validation_sequences: int = 1000
    test_sequences: int = 10_000

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        counts = self.below(1, "length", "validation_sequences", "test_sequences")
        return super().problems() + counts


def sequences_of(
    settings: GeneratedSettings, draw: Callable[..., Batch]
) -> dict[str, Any]:
    """Gives those arguments of a `Task` that hold its sequences.

    Args:
        settings: how many there shall be, and how long.
        draw: (key, batch=, length=) -> so many sequences.

    Returns:
        `train`, `draw`, `validation` and `test`.
    """
    draw = partial(draw, length=settings.length)
    validation, test = map(jax.random.key, (VALIDATION_KEY, TEST_KEY))
    return {
        "train": (),
        "draw": lambda key, _: draw(key, batch=settings.batch),
        "validation": draw(validation, batch=settings.validation_sequences),
        "test": draw(test, batch=settings.test_sequences),
    }
