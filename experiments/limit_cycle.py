"""Gradients along limit cycles, and training from them: `... limit_cycle`.

A network that settles on stable limit cycles never forgets their phase: a gradient sent
back along them keeps its component in that direction, for any length of time. Towards a
fixed point it vanishes, in chaos it explodes. So the recurrent matrix shall start with
a cycle in every plane of two units (Sokol, Jordan, Kadile & Park, "Adjoint Dynamics of
Stable Limit Cycle Neural Networks", Asilomar 2019), or in discrete time with a torus
(Park, Ságodi & Sokół, 2023, arXiv:2308.12585).

First nothing is driven: networks of 64 units in Euler's steps of 0.1 relax for 300
units of time, and a random unit vector is sent back over 500, in double precision.
Beside its norm are the leading Lyapunov exponents, of which each cycle has one that is
0, and the verdict of `diagnostics.diagnose`. Then the same cell is trained from each
start with the same optimizer, at the best of the same rates: to name a symbol of 200
steps ago through noise, and on the adding problem.

What came out, four seeds, medians: 10, 50, 100, 200 and 500 units of time back the norm
is 0.91, 0.95, 0.96, 0.97 and 1.0 along limit cycles, within 0.62 .. 1.93 at all times,
and 0.82 to 0.84 with narrow angles; 32 planes have 32 exponents of 0, the 33rd is at
-0.16. It is 1.8e-23 at last for 0.9 times an orthogonal matrix and 1e-38 for Gaussian
weights with g = 0.8. `diagnose` calls the former stable and the latter vanishing.

What does not reproduce: with g = 3 one of four networks of 64 units is chaotic, with a
norm of about 1e13 to 1e16 as rounding will have it; one has a stable fixed point, two
have cycles of their own. Of eight with 128 units seven had a leading exponent of 0.12
or more.

Trained for 300 steps, limit cycles name the symbol of 200 steps ago in every seed:
1.000, where the orthogonal start has a median of 0.638 (0.266 .. 1.000) and the
Gaussian one 0.255 (0.102 .. 1.000). The tanh network has 0.335 (0.140 .. 0.494) from a
torus, 0.128 and 0.151 from the others, where guessing has 0.125. On the adding problem
no median is better than guessing after 800 steps, 0.174 to 0.180; one network from
limit cycles has 0.108. In an earlier trial of 1,000 steps, three seeds and a read-out
that starts random, the leaky network began to learn from all three starts, and the
Gaussian one was ahead.
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
LEARNED = 0.1  # of guessing: what a score is better by that shows learning


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
    """Tests that starts on closed curves learn, and lead, on a task of long memory."""
    checks = []
    for memory, family, trained in lessons:
        sign = 1 if memory.higher_is_better else -1
        medians = {name: float(np.median(one.scores)) for name, one in trained.items()}
        first, *others = medians
        learned = sign * (medians[first] - memory.guess) > LEARNED * memory.guess
        checks.append(
            Check(
                f"{family.title}: the start {first} is ahead of guessing by a tenth "
                "of that, and of the others",
                learned
                and all(sign * medians[first] > sign * medians[one] for one in others),
                ", ".join(f"{name} {value:.3f}" for name, value in medians.items()),
            )
        )
    return checks
