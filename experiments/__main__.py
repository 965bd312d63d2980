"""Trains networks whose gradients last beside those whose gradients do not.

Exit codes: 0 the run ended, whatever it found; 1 a file could not be written; 2 the
command line, the settings or the data are wrong; 4 a loss became infinite or NaN; 5 a
signal stopped the run, and the same command goes on with it.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from experiments.catalog import EXPERIMENTS, name_of
from experiments.data.source_files import DataError
from experiments.demo import DemoSettings, run_demo
from experiments.devices import chosen_device
from experiments.diagnose import DiagnoseSettings, run_diagnosis
from experiments.fit import NonFiniteLossError
from experiments.grid import GridSettings, run_grid
from experiments.interruption import InterruptedRunError, interruptible
from experiments.methods import METHODS
from experiments.outcome import read_outcomes
from experiments.report import ReportSettings, write_report
from experiments.run import run_experiment
from experiments.run_directory import SettingsError
from experiments.settings import TrainingSettings
from experiments.standalone import STANDALONE
from experiments.suggestion import suggest
from experiments.sweep import SweepSettings, run_sweep
from experiments.table import print_table


@dataclass(frozen=True)
class ListSettings:
    """Lists the experiments, with what they last gave.

    Attributes:
        runs: directory that holds the run directories.
    """

    runs: Path = Path("runs")

    def problems(self) -> list[str]:
        """Lists what cannot be run: nothing."""
        return []


DEMO = ("demo", "adding and pixel_digits, small", "", "3 min", "")
EXIT_CODES: dict[type[Exception], int] = {
    SettingsError: 2,
    DataError: 2,
    NonFiniteLossError: 4,
    InterruptedRunError: 5,
}


def main(arguments: Sequence[str]) -> int:
    """Runs what a command line asks for.

    Args:
        arguments: the words after the name of the program.

    Returns:
        The exit code.
    """
    settings = parse(arguments)
    if isinstance(settings, TrainingSettings):
        problems = EXPERIMENTS[name_of(settings)].problems(settings)
    else:
        problems = settings.problems()
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return 2
    try:
        run(settings)
        sys.stdout.flush()
    except tuple(EXIT_CODES) as error:
        print(error, file=sys.stderr)
        return EXIT_CODES[type(error)]
    except BrokenPipeError:
        # Tables are printed when all is done: whoever reads them has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(settings: Any) -> None:
    """Runs a command; those that train stop for a signal when they have saved."""
    alone = {type(one.settings): one.run for one in STANDALONE.values()}
    match settings:
        case _ if type(settings) in alone:
            alone[type(settings)](settings)
        case ListSettings():
            print_catalog(settings.runs)
        case DiagnoseSettings():
            run_diagnosis(settings)
        case ReportSettings():
            write_report(settings)
        case _:
            device = chosen_device(settings.device)
            with interruptible(), jax.default_device(device):
                train(settings)


def train(
    settings: DemoSettings | SweepSettings | GridSettings | TrainingSettings,
) -> None:
    """Runs a command that trains."""
    match settings:
        case DemoSettings():
            run_demo(settings)
        case SweepSettings():
            run_sweep(settings)
        case GridSettings():
            run_grid(settings)
        case _:
            run_experiment(settings)


def parse(arguments: Sequence[str]) -> Any:
    """Turns a command line into settings; exits with code 2 if it cannot.

    Args:
        arguments: the words after the name of the program.

    Returns:
        The settings of the command that was named.
    """
    # A preset is where the other settings start, so it must be known before they are
    # read; a preset that does not exist is reported with the rest.
    preset = asked_preset(arguments)
    defaults = {
        "list": ListSettings(),
        "demo": DemoSettings(),
        "diagnose": DiagnoseSettings(tyro.MISSING),
        "report": ReportSettings(tyro.MISSING),
        "sweep": SweepSettings(tyro.MISSING),
        "grid": GridSettings(tyro.MISSING),
        **{name: found.settings for name, found in STANDALONE.items()},
        **{
            name: found.presets.get(preset, found.presets["quick"])
            for name, found in EXPERIMENTS.items()
        },
    }
    descriptions = {
        "list": "the experiments, with what they last gave",
        "demo": "two of them, small, in under three minutes",
        "diagnose": "what the gradients of a run do",
        "report": "tables and figures of runs",
        "sweep": "look for the settings that validate best",
        "grid": "every method at every learning rate, each at its best one too",
        **{name: found.summary for name, found in STANDALONE.items()},
        **{name: found.summary for name, found in EXPERIMENTS.items()},
    }
    word = next(iter(arguments), "")
    if word not in defaults and not word.startswith("-"):
        print(f"{word} is no command; {suggest(word, defaults)}", file=sys.stderr)
        sys.exit(2)
    kind = tyro.extras.subcommand_type_from_defaults(defaults, descriptions)
    return tyro.cli(
        kind,
        prog="python -m experiments",
        description=__doc__,
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def asked_preset(arguments: Sequence[str]) -> Any:
    """Finds the last `--preset` among some arguments; `quick` if there is none."""
    words = " ".join(arguments).replace("=", " ").split()
    chosen = [value for flag, value in pairwise(words) if flag == "--preset"]
    return chosen[-1] if chosen else "quick"


def print_catalog(runs: Path) -> None:
    """Prints a line for each experiment."""

    def row(name: str, found: Any) -> tuple[str, ...]:
        return name, found.summary, found.data, found.duration, found.paper

    rows = [row(*item) for item in EXPERIMENTS.items()]
    alone = [row(*item) for item in STANDALONE.items()]
    print_table(
        ("name", "what it shows", "data", "quick takes", "paper", "last result"),
        [
            *((*one, last(runs, one[0])) for one in (DEMO, *rows)),
            *((*one, "-") for one in alone),
        ],
    )


def last(runs: Path, name: str) -> str:
    """Tells the median scores of the run of that name, if it has ended."""
    try:
        outcomes = read_outcomes(runs / name)
    except (OSError, SettingsError):
        return "none"
    return "; ".join(
        f"{METHODS[one['method']].title} {np.median(one['scores']):.4f}"
        for outcome in outcomes
        for one in outcome.result["methods"]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
