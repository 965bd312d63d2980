"""How far back a network learns to look once its exponents were moved: `... flossing`.

Gradient flossing (Engelken, "Gradient Flossing: Improving Gradient Descent through
Dynamic Control of Jacobians", NeurIPS 2023, arXiv:2312.17306) moves the leading
Lyapunov exponents of a recurrence to 0 by descent, before it is trained or from time to
time between. The task is to repeat a coin that fell d steps ago, at every step of a
long sequence; who answers 1/2 has an error of 1/4. A tanh network with Gaussian weights
is trained as it is, after flossing, and after flossing with more of it along the way;
beside it one whose weights start orthogonal, which is the cheap way to the same end.
Sizes and steps are smaller than the paper's, whose networks have 80 units and read 300
steps.

With 64 units and 2,000 steps of training, three seeds, the Gaussian network repeats the
coin of 10 steps ago (error 0.001) and guesses at 20 (0.251); the orthogonal one repeats
at 20 (0.004, though one seed guesses); the flossed one at 20 (0.004) and at 30 (0.036,
one seed guesses), and begins to at 40 (0.188). Flossing along the way makes no further
horizon, but at 30 steps no seed is left guessing (0.048 to 0.112).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.coin_repeater import FlossingSettings, Outcome, Start, outcome
from experiments.experiment import Check
from experiments.figure import STYLE, save
from experiments.table import print_table, spread

COLORS: dict[Start, str] = {
    "gaussian": "#D55E00",
    "orthogonal": "#E69F00",
    "flossed": "#0072B2",
    "flossed again": "#009E73",
}
GUESS = 0.25  # the error of the answer 1/2


def run_flossing(settings: FlossingSettings) -> Mapping[Start, Outcome]:
    """Trains every start; prints the tables and the claims, and draws the figure.

    Args:
        settings: they have no problems.

    Returns:
        What came of each start.
    """
    found: dict[Start, Outcome] = {start: outcome(start, settings) for start in COLORS}
    print(
        f"Before training: exponents of {settings.exponents} directions, and the reach "
        f"over {settings.length} steps, log10 of ‖∂h_T/∂h_0‖"
    )
    print_table(
        ("start", "mean λ²", "largest λ", "reach, mean", "reach, largest"),
        [_before(start, one) for start, one in found.items()],
    )
    print(
        f"Error of repeating a coin after {settings.steps:,} steps of training; "
        f"guessing has {GUESS}. Median (lowest .. highest) of "
        f"{len(settings.seeds)} seeds"
    )
    print_table(
        ("start", *(f"{delay} steps ago" for delay in settings.delays)),
        [(start, *map(spread, one.errors)) for start, one in found.items()],
    )
    for check in flossing_checks(found, settings):
        print(check)
    settings.figure.parent.mkdir(parents=True, exist_ok=True)
    print("drawn:", *draw(found, settings))
    return found


def flossing_checks(
    found: Mapping[Start, Outcome], settings: FlossingSettings
) -> Sequence[Check]:
    """Tests that flossing moves exponents, and lengthens what is learned."""
    horizons = {start: horizon(one, settings) for start, one in found.items()}
    before, after = found["gaussian"].penalties, found["flossed"].penalties
    return [
        Check(
            "flossing brings the mean square of the exponents below a hundredth",
            bool(np.all(after < before / 100)),
            f"{spread(before, '.2e')} to {spread(after, '.2e')}",
        ),
        Check(
            "a flossed network learns to look further back",
            horizons["flossed"] > horizons["gaussian"],
            f"{horizons['flossed']} steps against {horizons['gaussian']}",
        ),
        Check(
            "flossing along the way does not shorten that",
            horizons["flossed again"] >= horizons["flossed"],
            f"{horizons['flossed again']} steps",
        ),
    ]


def horizon(one: Outcome, settings: FlossingSettings) -> int:
    """Returns the longest delay whose median error is below half that of guessing."""
    learned = np.median(one.errors, axis=1) < GUESS / 2
    return max(
        (d for d, ok in zip(settings.delays, learned, strict=True) if ok), default=0
    )


def draw(found: Mapping[Start, Outcome], settings: FlossingSettings) -> list[Path]:
    """Draws the reach before training and the errors after it.

    Args:
        found: what came of each start.
        settings: see the class.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        for start, one in found.items():
            if start == "flossed again":  # before training it is the one before
                continue
            (recurrence,) = one.report.measurement.recurrences
            logs = np.median(recurrence.reach.log_mean, axis=0) / np.log(10)
            left.plot(
                np.arange(len(logs), 0, -1), logs, color=COLORS[start], label=start
            )
        left.set_xlabel("steps back")
        left.set_ylabel(r"$\log_{10} \|\partial h_T / \partial h_t\|_F / \sqrt{n}$")
        left.set_title("Reach before training", loc="left")
        width = np.ptp(settings.delays) / 60
        for place, (start, one) in enumerate(found.items()):
            middle = np.median(one.errors, axis=1)
            gaps = [middle - one.errors.min(axis=1), one.errors.max(axis=1) - middle]
            right.errorbar(
                np.asarray(settings.delays) + (place - 1.5) * width,
                middle,
                gaps,
                color=COLORS[start],
                marker="o",
                markersize=3.5,
                elinewidth=0.8,
                label=start,
            )
        right.axhline(GUESS, color="0.35", linestyle=":", linewidth=0.9)
        right.set_xlabel("delay (steps)\ndotted: guessing")
        right.set_ylabel("error after training")
        right.set_ylim(bottom=0)
        right.set_title("Repeating a coin", loc="left")
        figure.legend(
            *right.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=len(found),
            frameon=False,
        )
        return save(figure, settings.figure)


def _before(start: Start, one: Outcome) -> tuple[str, ...]:
    (summary,) = one.report.summaries
    (recurrence,) = one.report.measurement.recurrences
    mean = np.median(recurrence.reach.log_mean[:, 0])
    return (
        start,
        spread(one.penalties, ".2e"),
        f"{summary.exponents[0]:+.4f}",
        f"{mean / np.log(10):+.2f}",
        f"{summary.growth / np.log(10):+.2f}",
    )
