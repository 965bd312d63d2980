"""Looking for settings: `python -m experiments sweep NAME --over ...`."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.catalog import EXPERIMENTS, missing
from experiments.experiment import Experiment
from experiments.fit import NonFiniteLossError, fit
from experiments.learner import Learner
from experiments.limits import Limited
from experiments.methods import METHODS
from experiments.progress import say
from experiments.regret_figure import draw_regret
from experiments.run_directory import RunDirectory, SettingsError, read_records
from experiments.search_space import SearchSpace, parse_space
from experiments.searchers import SearchName, make_searcher
from experiments.settings import (
    RATES,
    DeviceKind,
    MethodName,
    Preset,
    TrainingSettings,
)
from experiments.table import print_table
from experiments.task import Task

SHOWN = 10  # trials in the table


@dataclasses.dataclass(frozen=True)
class SweepSettings(Limited):
    """Looks for the settings of an experiment that validate best.

    Attributes:
        experiment: its name, as `list` shows it.
        over: what is varied: `learning_rate=1e-4..1e-2:log`, `radius=0..0.1`, and
            `seeds=3` for the number of seeds that judge each choice.
        method: which method is trained.
        search: a regular grid, random points, or the bandit VHCT, which spends more
            trials where rewards are high and little known.
        trials: how many choices are tried.
        steps: training steps of each; as many as in the preset if not given.
        preset: where all other settings start.
        device: what to run on.
        data_dir: see the experiment.
        seed: seed of the search.
        runs: directory that holds the run directories.
        name: name of the run directory; `sweep-NAME` if empty.
        force: start again, and drop the sweep of that name.
    """

    experiment: tyro.conf.Positional[str]
    over: tuple[str, ...] = ("learning_rate=1e-4..1e-2:log",)
    method: MethodName = "scornn"
    search: SearchName = "random"
    trials: int = 9
    steps: int | None = None
    preset: Preset = "quick"
    device: DeviceKind = "any"
    data_dir: Path | None = None
    seed: int = 0
    runs: Path = Path("runs")
    name: str = ""
    force: bool = False

    def base(self) -> TrainingSettings:
        """Gives the settings that the trials share."""
        found = EXPERIMENTS[self.experiment].presets[self.preset]
        return dataclasses.replace(
            found,
            methods=(self.method,),
            steps=found.steps if self.steps is None else self.steps,
            data_dir=self.data_dir,
            name=self.name,
        )

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        if absent := missing(self.experiment, self.preset):
            return absent
        problems = EXPERIMENTS[self.experiment].problems
        found = problems(self.base())
        found += self.below(1, "trials") + self.below(0, "seed")
        try:
            space = parse_space(self.over, self.base())
        except ValueError as error:
            return [*found, str(error)]
        for corner in itertools.product((0.0, 1.0), repeat=len(space.axes)):
            values: dict[str, Any] = space.at(corner)
            found += problems(dataclasses.replace(self.base(), **values))
        return list(dict.fromkeys(found))


@dataclasses.dataclass(frozen=True)
class Trial:
    """One choice and what came of it.

    Attributes:
        values: the settings tried.
        score: the best validation score, mean over seeds; None if a loss was not
            finite.
        reward: what the search was told, in [0, 1].
    """

    values: Mapping[str, float]
    score: float | None
    reward: float


def run_sweep(settings: SweepSettings) -> list[Trial]:
    """Runs the trials; prints the best and draws the regret.

    A sweep that was stopped goes on by the same command: the search is told again what
    the finished trials gave, and the trial that was running is resumed.

    Args:
        settings: they have no problems.

    Returns:
        The trials, in order.
    """
    experiment, base = EXPERIMENTS[settings.experiment], settings.base()
    space = parse_space(settings.over, base)
    path = settings.runs / (settings.name or f"sweep-{settings.experiment}")
    searcher = make_searcher(
        settings.search, len(space.axes), settings.trials, settings.seed
    )
    learners = SharedLearner(experiment)
    trials: list[Trial] = []
    with RunDirectory(path, "sweep", settings, force=settings.force) as directory:
        known = [Trial(**record) for record in read_records(path)]
        for number in range(settings.trials):
            values = space.at(searcher.ask())
            if number < len(known):
                trial = known[number]
                _check_same(trial, values, path)
            else:
                chosen = _trial_settings(base, space, values, number, settings.search)
                learner = learners.serving(chosen)
                place = path / f"trial-{number:03d}"
                trial = run_trial(learner, chosen, values, place)
                directory.log([dataclasses.asdict(trial)])
                say(f"trial {number + 1} of {settings.trials}: {_described(trial)}")
            searcher.tell(trial.reward)
            trials.append(trial)
        files = draw_regret([t.reward for t in trials], path / "figures" / "regret")
        directory.finish({"trials": [dataclasses.asdict(t) for t in trials]})
    show(trials, experiment.task(base), settings)
    print("figure:", *files)
    return trials


class SharedLearner:
    """One learner for choices that differ in seeds and learning rates alone.

    Args:
        experiment: whose task is learned.
    """

    def __init__(self, experiment: Experiment):
        self._experiment = experiment
        self._compiled: TrainingSettings | None = None
        self._learner: Learner | None = None

    def serving(self, settings: TrainingSettings) -> Learner:
        """Gives the learner of the choice before if it serves, or a new one."""
        rates: dict[str, Any] = dict.fromkeys(RATES, 1.0)
        compiled = dataclasses.replace(settings, seeds=(), **rates)
        if self._learner is None or compiled != self._compiled:
            task = self._experiment.task(settings)
            self._learner = Learner(task, settings.methods[0], settings)
            self._compiled = compiled
        return self._learner


def run_trial(
    learner: Learner,
    settings: TrainingSettings,
    values: Mapping[str, float],
    path: Path,
) -> Trial:
    """Trains one choice, all seeds side by side; nothing is tested."""
    with RunDirectory(path, "trial", settings) as directory:
        try:
            done = fit(learner, settings, directory)
        except NonFiniteLossError:
            return Trial(values, None, 0.0)
    score = float(np.mean(done.state.best_score))
    return Trial(values, score, reward(score, learner.task))


def reward(score: float, task: Task) -> float:
    """Maps a score to [0, 1], where a search can compare rewards.

    Args:
        score: a mean over seeds.
        task: what it is a score of.

    Returns:
        A number that is larger for better scores: an accuracy itself, and b / (b + e)
        for an error e beside the baseline b.
    """
    if task.higher_is_better:
        return score
    return task.baseline / (task.baseline + max(score, 0.0))


def show(trials: Sequence[Trial], task: Task, settings: SweepSettings) -> None:
    """Prints the best trials."""
    names = list(trials[0].values)
    order = sorted(range(len(trials)), key=lambda place: -trials[place].reward)
    print(
        f"{task.title}, {METHODS[settings.method].title}: {len(trials)} trials, "
        f"search: {settings.search}"
    )
    print_table(
        ("trial", *names, f"validation {task.score_label}"),
        [
            (
                str(place + 1),
                *(f"{trials[place].values[name]:.3g}" for name in names),
                _score(trials[place]),
            )
            for place in order[:SHOWN]
        ],
    )


def _trial_settings(
    base: TrainingSettings,
    space: SearchSpace,
    values: Mapping[str, Any],
    number: int,
    search: SearchName,
) -> TrainingSettings:
    # A bandit pulls one point more than once to learn what its noise is: new seeds.
    first = number * space.seeds if search == "vhct" else 0
    seeds = tuple(range(first, first + space.seeds))
    return dataclasses.replace(base, seeds=seeds, **values)


def _check_same(trial: Trial, values: Mapping[str, float], path: Path) -> None:
    if json.dumps(trial.values) != json.dumps(values):
        raise SettingsError(
            f"{path} holds trials of another search; give --force to start again."
        )


def _score(trial: Trial) -> str:
    return "not finite" if trial.score is None else f"{trial.score:.4f}"


def _described(trial: Trial) -> str:
    values = ", ".join(f"{name} {value:.3g}" for name, value in trial.values.items())
    return f"{values}: {_score(trial)}"
