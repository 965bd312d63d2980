"""What an experiment is: a task, its settings, and the claims it tests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.settings import MethodName, Preset, TrainingSettings
from experiments.summary import Summary
from experiments.task import Task


@dataclass(frozen=True)
class Check:
    """A claim, and whether a run bears it out.

    Attributes:
        claim: what should be so.
        met: whether it is.
        why: the numbers that decide.
    """

    claim: str
    met: bool
    why: str

    def __str__(self) -> str:
        return f"{'met' if self.met else 'NOT MET'}: {self.claim} ({self.why})"


@dataclass(frozen=True)
class Experiment:
    """A comparison of methods on one task.

    Attributes:
        summary: what it shows, in a line.
        paper: where it comes from.
        data: what it reads.
        duration: how long the preset `quick` takes on two cores.
        presets: its settings.
        task: makes the task.
        checks: tests the claims, if there are any, on the summaries of the methods that
            ran.
        reads_files: whether `--data-dir` means anything to it.
        published: the test scores of the papers, in the setting of the preset `paper`.
        published_for: settings that must be those of that preset for a comparison.
    """

    summary: str
    paper: str
    data: str
    duration: str
    presets: Mapping[Preset, TrainingSettings]
    task: Callable[[Any], Task]
    checks: Callable[[Task, Mapping[MethodName, Summary]], Sequence[Check]] = (
        lambda task, summaries: []
    )
    reads_files: bool = False
    published: Mapping[MethodName, float] = field(default_factory=dict)
    published_for: tuple[str, ...] = ()

    def lacks(self, preset: Preset) -> list[str]:
        """Says which presets there are, if this is none of them."""
        if preset in self.presets:
            return []
        return [f"--preset must be one of {', '.join(self.presets)}."]

    def problems(self, settings: TrainingSettings) -> list[str]:
        """Lists what cannot be run or was given in vain, a line each."""
        if missing := self.lacks(settings.preset):
            return missing
        found = settings.problems() + settings.idle(self.presets[settings.preset])
        if settings.data_dir and not self.reads_files:
            found.append("--data-dir changes nothing: no file is read.")
        return found
