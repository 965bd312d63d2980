"""Both tasks, small: what an unconstrained recurrence loses and others keep."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.adding import ADDING
from experiments.comparison import Comparison, compare
from experiments.experiment import Experiment
from experiments.figure import draw_figure
from experiments.pixel_digits import PIXEL_DIGITS
from experiments.run_directory import RunDirectory
from experiments.settings import DeviceKind, MethodName, TrainingSettings


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demonstration.

    All others are those of the presets `quick`, but for the adding problem: half their
    length and 1.5 times their learning rate, so that fewer steps tell methods apart.

    Attributes:
        methods: which methods to train.
        adding_steps: training steps on the adding problem.
        digits_steps: training steps on the digits.
        seeds: one run each, of all methods; they train side by side in one program.
        device: what to run on.
        runs: directory that holds the run directory `demo`. One that was stopped is
            gone on with; one that has ended is replaced.
    """

    methods: tuple[MethodName, ...] = ("rnn", "gru", "scornn", "spectral_rnn")
    adding_steps: int = 2000
    digits_steps: int = 1000
    seeds: tuple[int, ...] = (0,)
    device: DeviceKind = "any"
    runs: Path = Path("runs")

    def parts(self) -> list[tuple[Experiment, TrainingSettings]]:
        """Lists the experiments with their settings."""
        adding = {"length": 100, "learning_rate": 1.5e-3, "steps": self.adding_steps}
        digits = {"steps": self.digits_steps}
        return [
            (
                experiment,
                replace(
                    experiment.presets["quick"],
                    methods=self.methods,
                    seeds=self.seeds,
                    evaluate_every=max(chosen["steps"] // 20, 1),
                    **chosen,
                ),
            )
            for experiment, chosen in ((ADDING, adding), (PIXEL_DIGITS, digits))
        ]

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = {
            line: None for _, settings in self.parts() for line in settings.problems()
        }
        return list(found)


def run_demo(settings: DemoSettings) -> Sequence[Comparison]:
    """Trains every method on both tasks; prints two tables and draws one figure.

    Args:
        settings: they have no problems.

    Returns:
        What was measured.
    """
    path = settings.runs / "demo"
    has_ended = (path / "result.json").exists()
    with RunDirectory(path, "demo", settings, force=has_ended) as directory:
        comparisons = [
            compare(experiment, chosen, directory)
            for experiment, chosen in settings.parts()
        ]
        directory.finish({"comparisons": [done.to_dict() for done in comparisons]})
        drawings = [comparison.drawing() for comparison in comparisons]
        files = draw_figure(drawings, directory.path / "figures" / "demo")
        for comparison in comparisons:
            comparison.show()
            print()
        print("figure:", *files)
    return comparisons
