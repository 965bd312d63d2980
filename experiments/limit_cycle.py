"""Gradients along limit cycles, and training from them: `... limit_cycle`.

Sokol, Jordan, Kadile & Park, "Adjoint Dynamics of Stable Limit Cycle Neural Networks",
Asilomar 2019.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.cycle_figure import draw
from experiments.cycle_gradients import WITHIN, Gradients, gradients, starts
from experiments.cycle_memory import (
    Family,
    Memory,
    Trained,
    Training,
    adding,
    families,
    recall,
    train,
)
from experiments.experiment import Check
from experiments.limits import Limited
from experiments.table import print_table, spread

FLAT = 3.0  # the factor that a flat norm stays within
DECAYED = 1e-6
GROWN = 100.0


@dataclass(frozen=True)
class LimitCycleSettings(Limited):
    """Gradients of networks by their start, and what they learn.

    Attributes:
        hidden: units of the networks that nothing drives.
        times: how far back their gradients are reported, in units of time.
        seeds: networks of each start, driven or not.
        trained: units of the networks that are trained.
        recall_length: steps after which a symbol is asked for.
        recall_steps: of training on that.
        adding_length: steps of the adding problem.
        adding_steps: of training on that.
        batch: sequences of a training step.
        rates: learning rates of Adam; each start is shown at its best.
        figure: where gradients and exponents are drawn, without the ending.
    """

    hidden: int = 64
    times: tuple[int, ...] = (10, 50, 100, 200, 500)
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    trained: int = 32
    recall_length: int = 200
    recall_steps: int = 300
    adding_length: int = 100
    adding_steps: int = 800
    batch: int = 32
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    figure: Path = Path("runs/limit_cycle")

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(2, "hidden", "trained", "adding_length")
        found += self.below(1, "recall_length", "recall_steps", "adding_steps", "batch")
        if not (self.times and min(self.times) >= 1 and max(self.times) >= 10):
            found.append("--times must be at least 1, and one of them at least 10.")
        if not self.seeds:
            found.append("--seeds must name at least one.")
        if not self.rates or min(self.rates) <= 0:
            found.append("--rates must be above 0, at least one.")
        return found


Lessons = list[tuple[Memory, Family, dict[str, Trained]]]


def run_limit_cycle(
    settings: LimitCycleSettings,
) -> tuple[Mapping[str, Gradients], Lessons]:
    """Measures and trains; prints the tables and the claims, and draws the figure.

    Args:
        settings: they have no problems.

    Returns:
        What each start does to gradients, and what each task, cell and start came to.
    """
    found = {
        name: gradients(start, settings.hidden, max(settings.times), settings.seeds)
        for name, start in starts(settings.hidden).items()
    }
    show_gradients(found, settings)
    for check in gradient_checks(found):
        print(check)
    settings.figure.parent.mkdir(parents=True, exist_ok=True)
    print("drawn:", *draw(found, settings.figure))
    lessons: Lessons = []
    for memory, steps in (
        (recall(settings.recall_length), settings.recall_steps),
        (adding(settings.adding_length), settings.adding_steps),
    ):
        training = Training(
            settings.trained, steps, settings.batch, settings.rates, settings.seeds
        )
        here = [
            (memory, family, train(memory, family, training))
            for family in families(settings.trained)
        ]
        show_lessons(here, training)
        for check in memory_checks(here):
            print(check)
        lessons += here
    return found, lessons


def show_gradients(
    found: Mapping[str, Gradients], settings: LimitCycleSettings
) -> None:
    """Prints norms, exponents and verdicts."""
    print(
        f"Norm of a unit gradient so far back, n = {settings.hidden}, nothing driven; "
        f"median (lowest .. highest) of {len(settings.seeds)} seeds"
    )
    print_table(
        ("start", *(f"t = {time}" for time in settings.times)),
        [
            (name, *(spread(one.norms[:, time], ".2g") for time in settings.times))
            for name, one in found.items()
        ],
    )
    print("Lyapunov exponents in nats a unit of time, and the verdict of `diagnose`")
    last = settings.hidden // 2
    print_table(
        ("start", "the largest", f"number {last + 1}", "how many are 0", "verdicts"),
        [
            (
                name,
                spread(one.exponents[:, 0], "+.4f"),
                spread(one.exponents[:, last], "+.4f"),
                " ".join(map(str, one.zeros)),
                " ".join(one.verdicts),
            )
            for name, one in found.items()
        ],
    )


def gradient_checks(found: Mapping[str, Gradients]) -> Sequence[Check]:
    """Tests that gradients last along cycles, vanish to points and grow in chaos."""
    cycles = [one for name, one in found.items() if "cycles" in name]
    points = [found["0.9 × orthogonal"], found["Gaussian, g = 0.8"]]
    wild = found["Gaussian, g = 3"]
    low = min(float(one.norms.min()) for one in cycles)
    high = max(float(one.norms.max()) for one in cycles)
    planes = (cycles[0].exponents.shape[1]) - 1
    left = max(float(one.norms[:, -1].max()) for one in points)
    ends = wild.norms[wild.grows, -1]
    return [
        Check(
            f"along limit cycles it stays within a factor of {FLAT:g}, at every time",
            low > 1 / FLAT and high < FLAT,
            f"{low:.2f} to {high:.2f}",
        ),
        Check(
            f"each plane has its exponent of 0, within {WITHIN} standard errors",
            all(bool(np.all(one.zeros == planes)) for one in cycles),
            f"{planes} planes; "
            + " ".join(str(n) for one in cycles for n in one.zeros),
        ),
        Check(
            "towards fixed points less than a millionth is left at last",
            left < DECAYED,
            f"at most {left:.1e}",
        ),
        Check(
            "from Gaussian weights with g = 3 most networks are chaotic",
            2 * int(wild.grows.sum()) > len(wild.grows),
            f"{wild.grows.sum()} of {len(wild.grows)}",
        ),
        Check(
            "in those that are it has grown a hundredfold at last",
            bool(ends.size) and bool(np.all(ends > GROWN)),
            ", ".join(f"{one:.1e}" for one in ends) or "none is",
        ),
        Check(
            "`diagnose` calls cycles stable and fixed points vanishing",
            all(set(one.verdicts) == {"stable"} for one in cycles)
            and all(set(one.verdicts) == {"vanishing"} for one in points),
            "; ".join(" ".join(sorted(set(one.verdicts))) for one in cycles + points),
        ),
    ]


def show_lessons(lessons: Lessons, training: Training) -> None:
    """Prints what each cell and start came to on one task."""
    memory = lessons[0][0]
    print(
        f"{memory.title} after {training.steps:,} steps of training, "
        f"{training.hidden} units, each start at its best of "
        f"{len(training.rates)} rates; guessing has {memory.guess:.3f}"
    )
    print_table(
        ("cell", "start", "rate", "test score"),
        [
            (family.title, name, f"{training.rates[one.best]:g}", spread(one.scores))
            for _, family, trained in lessons
            for name, one in trained.items()
        ],
    )


def memory_checks(lessons: Lessons) -> Sequence[Check]:
    """Tests that starts on closed curves lead on a task of long memory."""
    checks = []
    for memory, family, trained in lessons:
        sign = 1 if memory.higher_is_better else -1
        medians = {name: float(np.median(one.scores)) for name, one in trained.items()}
        first, *others = medians
        checks.append(
            Check(
                f"{family.title}: the start {first} leads in the median",
                all(sign * medians[first] > sign * medians[one] for one in others),
                ", ".join(f"{name} {value:.3f}" for name, value in medians.items()),
            )
        )
    return checks
