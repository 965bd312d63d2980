"""Every method at every learning rate: `python -m experiments grid NAME`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.catalog import EXPERIMENTS, missing
from experiments.fit import fit
from experiments.learner import Learner
from experiments.methods import METHODS
from experiments.progress import say
from experiments.run_directory import RunDirectory, read_records
from experiments.settings import (
    USERS,
    DeviceKind,
    MethodName,
    Preset,
    TrainingSettings,
)
from experiments.table import print_table
from experiments.task import Task
from experiments.training import diverged


@dataclasses.dataclass(frozen=True)
class GridSettings:
    """Trains every method at every learning rate of a grid.

    The rate of the coordinates of orthogonal matrices keeps its ratio to the other one.

    Attributes:
        experiment: its name, as `list` shows it.
        rates: the learning rates.
        methods: which methods to train; those of the preset if none are given.
        seeds: those of the preset if none are given.
        steps: training steps of each; as many as in the preset if not given.
        preset: where all other settings start.
        device: what to run on.
        data_dir: see the experiment.
        runs: directory that holds the run directories.
        name: name of the run directory; `grid-NAME` if empty.
        force: start again, and drop the grid of that name.
    """

    experiment: tyro.conf.Positional[str]
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    methods: tuple[MethodName, ...] = ()
    seeds: tuple[int, ...] = ()
    steps: int | None = None
    preset: Preset = "quick"
    device: DeviceKind = "any"
    data_dir: Path | None = None
    runs: Path = Path("runs")
    name: str = ""
    force: bool = False

    def at(self, rate: float) -> TrainingSettings:
        """Gives the settings at one learning rate."""
        found = EXPERIMENTS[self.experiment].presets[self.preset]
        methods = self.methods or found.methods
        ratio = rate / found.learning_rate
        if not set(USERS["coordinate_learning_rate"]) & set(methods):
            ratio = 1.0
        return dataclasses.replace(
            found,
            methods=methods,
            seeds=self.seeds or found.seeds,
            steps=found.steps if self.steps is None else self.steps,
            learning_rate=rate,
            coordinate_learning_rate=ratio * found.coordinate_learning_rate,
            keep_going=True,
            data_dir=self.data_dir,
            name=self.name,
        )

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        if absent := missing(self.experiment, self.preset):
            return absent
        if not self.rates or len(set(self.rates)) < len(self.rates):
            return ["--rates must be given without repeats, at least one."]
        found = [
            line
            for rate in self.rates
            for line in EXPERIMENTS[self.experiment].problems(self.at(rate))
        ]
        return list(dict.fromkeys(found))


@dataclasses.dataclass(frozen=True)
class Cell:
    """One method at one rate.

    Attributes:
        method: which one.
        rate: its learning rate.
        validation: the best validation score of each seed.
        scores: the test score of each seed, of the parameters that validated best.
        diverged: how many seeds validate worse at last than untrained, or not at all.
    """

    method: MethodName
    rate: float
    validation: tuple[float, ...]
    scores: tuple[float, ...]
    diverged: int

    @property
    def title(self) -> str:
        """The name of the method."""
        return METHODS[self.method].title

    def __str__(self) -> str:
        score = f"{np.median(self.validation):.4g}"
        return f"{score}, {self.diverged} diverged" if self.diverged else score


def run_grid(settings: GridSettings) -> list[Cell]:
    """Trains all of it; prints the table and the best rate of each method.

    A grid that was stopped goes on by the same command.

    Args:
        settings: they have no problems.

    Returns:
        What came out for each method and rate.
    """
    experiment = EXPERIMENTS[settings.experiment]
    task = experiment.task(settings.at(settings.rates[0]))
    path = settings.runs / (settings.name or f"grid-{settings.experiment}")
    with RunDirectory(path, "grid", settings, force=settings.force) as directory:
        known = [_cell(record) for record in read_records(path)]
        cells = list(known)
        for method in settings.at(settings.rates[0]).methods:
            learner = None
            for rate in settings.rates:
                if any((one.method, one.rate) == (method, rate) for one in known):
                    continue
                chosen = dataclasses.replace(settings.at(rate), methods=(method,))
                # The rate is a number in the state: one program serves them all.
                learner = learner or Learner(task, method, chosen)
                cell = train_one(learner, chosen, path / f"{method}-{rate:g}")
                directory.log([dataclasses.asdict(cell)])
                say(f"{cell.title}, rate {rate:g}: {cell}")
                cells.append(cell)
        directory.finish({"cells": [dataclasses.asdict(one) for one in cells]})
    show(cells, task, settings)
    return cells


def train_one(learner: Learner, settings: TrainingSettings, path: Path) -> Cell:
    """Trains one method at one rate, all seeds side by side, and tests it."""
    with RunDirectory(path, "trial", settings) as directory:
        done = fit(learner, settings, directory)
    failed = diverged(done.measurements, learner.task)
    return Cell(
        learner.method,
        settings.learning_rate,
        tuple(map(float, done.state.best_score)),
        tuple(map(float, learner.evaluator.test(done.state))),
        int(np.sum(failed)),
    )


def show(cells: Sequence[Cell], task: Task, settings: GridSettings) -> None:
    """Prints the table of all rates, and each method at its best one."""
    methods: list[MethodName] = list(dict.fromkeys(one.method for one in cells))
    seeds = len(cells[0].scores)
    print(f"{task.title}: validation {task.score_label}, median of {seeds} seeds")
    print_table(
        ("rate", *(METHODS[method].title for method in methods)),
        [
            (
                f"{rate:g}",
                *(
                    next(str(c) for c in cells if (c.method, c.rate) == (method, rate))
                    for method in methods
                ),
            )
            for rate in settings.rates
        ],
    )
    print(f"each at the rate that validates best: test {task.score_label}")
    print_table(
        ("method", "rate", "median", "lowest", "highest", "diverged"),
        [
            best_row([c for c in cells if c.method == method], task)
            for method in methods
        ],
    )


def best_row(cells: Sequence[Cell], task: Task) -> tuple[str, ...]:
    """Describes a method at the rate that validates best, of those without failures.

    Args:
        cells: what came out for the method at each rate.
        task: what was learned.

    Returns:
        A row of the table. If the method failed at every rate, rates with failures
        count too.
    """
    sound = [one for one in cells if not one.diverged] or cells
    choose = max if task.higher_is_better else min
    best = choose(sound, key=lambda one: float(np.median(one.validation)))
    low, high = min(best.scores), max(best.scores)
    return (
        best.title,
        f"{best.rate:g}",
        *(f"{value:.4g}" for value in (np.median(best.scores), low, high)),
        f"{best.diverged} of {len(best.scores)}",
    )


def _cell(record: dict[str, Any]) -> Cell:
    # JSON has lists where a cell has tuples.
    lists: dict[str, Any] = {n: tuple(record[n]) for n in ("validation", "scores")}
    return dataclasses.replace(Cell(**record), **lists)
