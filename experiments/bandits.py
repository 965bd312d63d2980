"""The synthetic functions and the bandits of PyXAB."""

from collections.abc import Callable, Sequence
from typing import Any

from experiments.searchers import Bandit, Random, Searcher, vhct


def functions() -> dict[str, tuple[list[tuple[float, float]], Callable[..., float]]]:
    """Lists PyXAB's functions: the box, and how far a point lies below the maximum."""
    vhct()
    from PyXAB.synthetic_obj.DoubleSine import DoubleSine
    from PyXAB.synthetic_obj.Garland import Garland
    from PyXAB.synthetic_obj.Himmelblau import Himmelblau_Normalized

    found: dict[str, tuple[list[tuple[float, float]], Any]] = {
        "Garland": ([(0.0, 1.0)], Garland()),
        "DoubleSine": ([(0.0, 1.0)], DoubleSine()),
        "Himmelblau": ([(-5.0, 5.0)] * 2, Himmelblau_Normalized()),
    }

    def gap(function: Any) -> Callable[[Sequence[float]], float]:
        return lambda point: float(function.fmax - function.f(list(point)))

    return {name: (box, gap(function)) for name, (box, function) in found.items()}


def algorithms(rounds: int) -> dict[str, Callable[[int, int], Searcher]]:
    """Lists what is compared: (axes, seed) -> a searcher."""
    algorithm = vhct()
    from PyXAB.algos.HCT import HCT
    from PyXAB.algos.HOO import T_HOO

    return {
        "VHCT": lambda axes, seed: Bandit(axes, seed, algorithm),
        "HCT": lambda axes, seed: Bandit(axes, seed, HCT),
        "T-HOO": lambda axes, seed: Bandit(axes, seed, T_HOO, rounds=rounds),
        "random": Random,
    }
