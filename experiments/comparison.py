"""Training every method on one task, and what is said of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.diagnosis import diagnose
from experiments.experiment import Check, Experiment
from experiments.figure import Drawing
from experiments.fit import NonFiniteLossError
from experiments.measurement import curve
from experiments.methods import METHODS
from experiments.progress import progress
from experiments.run_directory import RunDirectory, write_json
from experiments.settings import MethodName, TrainingSettings
from experiments.summary import NOTES, Summary, summarize
from experiments.table import print_table
from experiments.task import Task
from experiments.training import Training, train


@dataclass(frozen=True)
class Comparison:
    """An experiment that has been run.

    Attributes:
        task: the task.
        settings: its settings.
        trainings: what each method measured.
        summaries: what came out for each method.
        checks: the claims.
    """

    task: Task
    settings: TrainingSettings
    trainings: dict[MethodName, Training]
    summaries: dict[MethodName, Summary]
    checks: Sequence[Check]

    def show(self) -> None:
        """Prints the table, the baseline, the budget and the claims."""
        seeds = " ".join(map(str, self.settings.seeds))
        summaries = self.summaries.values()
        columns = [summary.quantities() for summary in summaries]
        print(
            f"{self.task.title}: {self.settings.steps:,} steps of "
            f"{self.settings.batch} sequences, seeds: {seeds}"
        )
        print_table(
            (
                f"test {self.task.score_label}",
                *(summary.title for summary in summaries),
            ),
            [(label, *(column[label] for column in columns)) for label in columns[0]],
        )
        print(*NOTES, sep="\n")
        print(f"{self.task.baseline_label}: {self.task.baseline:.4f}")
        print(f"part of the paper's budget: {self.task.budget}")
        for check in self.checks:
            print(check)

    def drawing(self) -> Drawing:
        """Gathers what the figures show."""
        return Drawing(
            title=self.task.title,
            score_label=self.task.score_label,
            log_scale=self.task.log_scale,
            baseline=self.task.baseline,
            baseline_label=self.task.baseline_label,
            steps=self.settings.steps,
            curves={
                method: curve(done.measurements)
                for method, done in self.trainings.items()
            },
            gradients={
                method: np.median(done.gradient, axis=0)
                for method, done in self.trainings.items()
            },
            scores={method: done.scores for method, done in self.trainings.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Gives the numbers, for `result.json`."""
        facts = (
            *("name", "title", "score_label", "higher_is_better", "log_scale"),
            *("baseline", "baseline_label", "budget"),
        )
        return {
            **{fact: getattr(self.task, fact) for fact in facts},
            "steps": self.settings.steps,
            "seeds": list(self.settings.seeds),
            "methods": [summary.to_dict() for summary in self.summaries.values()],
            "checks": [asdict(check) for check in self.checks],
        }


def compare(
    experiment: Experiment, settings: TrainingSettings, directory: RunDirectory
) -> Comparison:
    """Trains every method on the task of an experiment.

    Args:
        experiment: which one.
        settings: its settings; they have no problems.
        directory: where everything is kept.

    Returns:
        The comparison.

    Raises:
        NonFiniteLossError: see `train`; `diagnosis.json` then says what the gradients
            of the last sound state do.
    """
    task = experiment.task(settings)
    directory.note(task.noted)
    trainings: dict[MethodName, Training] = {}
    for method in settings.methods:
        label = f"{task.name}, {METHODS[method].title}"
        with progress(label, settings.steps) as advance:
            try:
                trainings[method] = train(task, method, settings, directory, advance)
            except NonFiniteLossError:
                path = directory.checkpoints(task.name, method)
                reports = directory.path / "diagnosis"
                found = diagnose(task, method, settings, path, reports)
                write_json(directory.path / "diagnosis.json", {"methods": [found]})
                raise
    summaries: dict[MethodName, Summary] = {
        method: summarize(done) for method, done in trainings.items()
    }
    return Comparison(
        task, settings, trainings, summaries, experiment.checks(task, summaries)
    )
