"""The box that a sweep looks through."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from experiments.settings import TrainingSettings
from experiments.suggestion import suggest

SEEDS = "seeds"


@dataclass(frozen=True)
class Axis:
    """One setting and where it lies.

    Attributes:
        name: which setting.
        low: the smallest value.
        high: the largest value.
        log: whether equal steps are equal factors.
        whole: whether values are rounded to whole numbers.
    """

    name: str
    low: float
    high: float
    log: bool
    whole: bool

    def at(self, place: float) -> float:
        """Gives the value at a place in [0, 1]."""
        if self.log:
            value = math.exp(
                math.log(self.low) + place * math.log(self.high / self.low)
            )
        else:
            value = self.low + place * (self.high - self.low)
        return round(value) if self.whole else value


@dataclass(frozen=True)
class SearchSpace:
    """What is varied, and how many seeds each choice is judged by.

    Attributes:
        axes: the settings that are varied.
        seeds: how many seeds.
    """

    axes: tuple[Axis, ...]
    seeds: int = 1

    def at(self, point: Sequence[float]) -> dict[str, float]:
        """Gives the settings at a point of the unit cube."""
        pairs = zip(self.axes, point, strict=True)
        return {axis.name: axis.at(place) for axis, place in pairs}


def parse_space(words: Sequence[str], settings: TrainingSettings) -> SearchSpace:
    """Reads words such as `learning_rate=1e-4..1e-2:log` and `seeds=3`.

    Args:
        words: one for each setting.
        settings: what the settings are without a sweep.

    Returns:
        The space.

    Raises:
        ValueError: naming the word that cannot be read, and why.
    """
    kinds: dict[str, Any] = {
        field.name: type(getattr(settings, field.name)) for field in fields(settings)
    }
    numbers = [name for name, kind in kinds.items() if kind in {int, float}]
    axes, seeds = [], 1
    for word in words:
        name, _, range_ = word.partition("=")
        name = name.replace("-", "_")
        if name == SEEDS:
            seeds = _count(word, range_)
            continue
        if name not in numbers:
            raise ValueError(
                f"--over {word}: {name} is no number among the settings; "
                f"{suggest(name, numbers)}"
            )
        axes.append(_axis(word, name, range_, whole=kinds[name] is int))
    if not axes:
        raise ValueError("--over needs at least one setting with a range.")
    if len({axis.name for axis in axes}) < len(axes):
        raise ValueError("--over names a setting twice.")
    return SearchSpace(tuple(axes), seeds)


def _count(word: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--over {word}: the number of seeds must be at least 1.")
    return int(text)


def _axis(word: str, name: str, range_: str, *, whole: bool) -> Axis:
    bounds, _, scale = range_.partition(":")
    low, separator, high = bounds.partition("..")
    try:
        axis = Axis(name, float(low), float(high), scale == "log", whole)
    except ValueError:
        separator = ""
        axis = Axis(name, 0, 0, log=False, whole=whole)
    if not separator or scale not in {"", "log"}:
        raise ValueError(f"--over {word}: write it as {name}=LOW..HIGH or with :log.")
    if not (math.isfinite(axis.low) and math.isfinite(axis.high)):
        raise ValueError(f"--over {word}: its ends must be finite.")
    if axis.low >= axis.high:
        raise ValueError(f"--over {word}: LOW must lie below HIGH.")
    if axis.log and axis.low <= 0:
        raise ValueError(f"--over {word}: a logarithmic range must be positive.")
    return axis
