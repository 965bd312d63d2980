"""How VHCT does on the functions of its paper: `python -m experiments vhct`.

Cumulative regret Σ f* - f(x_t) over the rounds, where x_t is what the algorithm pulls
and its reward f(x_t) carries uniform noise. The algorithms are those of PyXAB, by the
authors of Li, Wang, Cheng & Song, "Optimum-statistical Collaboration Towards General
and Efficient Black-box Optimization", TMLR 2023, arXiv:2106.09215.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.bandits import algorithms, functions
from experiments.experiment import Check
from experiments.limits import Limited
from experiments.searchers import Searcher
from experiments.table import print_table


@dataclass(frozen=True)
class VhctSettings(Limited):
    """Cumulative regret of VHCT and others on synthetic functions.

    Attributes:
        rounds: evaluations of a function in a run.
        runs: runs of each algorithm, one for each seed from 0 on.
        noises: half-widths of the uniform noise.
    """

    rounds: int = 1000
    runs: int = 8
    noises: tuple[float, ...] = (0.1, 0.5)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "rounds", "runs")
        if not self.noises or min(self.noises) < 0:
            found.append("--noises must be at least one number, none below 0.")
        return found


Regrets = Mapping[tuple[str, str, float], Sequence[float]]


def run_vhct(settings: VhctSettings) -> Regrets:
    """Runs every algorithm on every function; prints the table and the claims.

    Args:
        settings: they have no problems.

    Returns:
        For each function, algorithm and noise the regret of each run.
    """
    regrets: dict[tuple[str, str, float], list[float]] = {}
    for noise in settings.noises:
        for function, (box, gap) in functions().items():
            for name, make in algorithms(settings.rounds).items():
                regrets[function, name, noise] = [
                    cumulative_regret(
                        make(len(box), seed), box, gap, noise, settings.rounds, seed
                    )
                    for seed in range(settings.runs)
                ]
    names = list(algorithms(settings.rounds))
    print(f"cumulative regret, {settings.rounds:,} rounds, {settings.runs} runs")
    print_table(
        ("function", "noise", *names),
        [
            (
                function,
                f"± {noise}",
                *(_mean(regrets[function, name, noise]) for name in names),
            )
            for noise in settings.noises
            for function in functions()
        ],
    )
    print(*vhct_checks(regrets, settings), sep="\n")
    return regrets


def cumulative_regret(
    searcher: Searcher,
    box: Sequence[tuple[float, float]],
    gap: Callable[[Sequence[float]], float],
    noise: float,
    rounds: int,
    seed: int,
) -> float:
    """Plays some rounds and adds up what was missed.

    Args:
        searcher: what chooses the points.
        box: the ends of each axis.
        gap: f* - f at a point of the box.
        noise: half-width of the noise on what the searcher is told.
        rounds: how many rounds.
        seed: seed of the noise.

    Returns:
        The sum of the gaps at the points chosen.
    """
    draws = np.random.default_rng([seed, rounds])
    total = 0.0
    for _ in range(rounds):
        place = searcher.ask()
        point = [
            low + x * (high - low) for x, (low, high) in zip(place, box, strict=True)
        ]
        missed = gap(point)
        searcher.tell(-missed + draws.uniform(-noise, noise))
        total += missed
    return total


def vhct_checks(regrets: Regrets, settings: VhctSettings) -> Sequence[Check]:
    """Tests the order of the algorithms where the noise is smallest."""
    noise, names = min(settings.noises), list(algorithms(settings.rounds))
    found = []
    for function in functions():
        means = [float(np.mean(regrets[function, name, noise])) for name in names]
        found.append(
            Check(
                f"{function}, noise {noise}: {' < '.join(names)}",
                all(one < next_ for one, next_ in zip(means, means[1:], strict=False)),
                " < ".join(f"{mean:.1f}" for mean in means),
            )
        )
    return found


def _mean(values: Sequence[float]) -> str:
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.1f} ± {spread:.1f}"
