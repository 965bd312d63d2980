"""A block whose steps descend, and what it does to noise: `... neural_optimization`.

Lyu & Tsang ("Neural Optimization Kernel: Towards Robust Deep Learning", 2021,
arXiv:2106.06097) build a network of T layers from T steps of proximal gradient descent.
They claim that its objective Q falls in each of them, that it is within O(1/T) of the
least one where the penalty is convex, and that the block before a backbone makes it
robust to noise in its input. They plug it into DenseNets and ResNets; here it stands
before two hidden layers that read digits of 8×8 pixels, and only its rotation, if
anything of it, is trained.

What came out. No step ascends: the largest rise in 2,000 steps is 1.8e-16 of the Q at
the start, with all four maps. For the three convex penalties Q_t - Q* is at most 0.129,
0.115 and 0.106 of its bound ‖y*‖² / 2t, with ReLU, shifted ReLU and soft threshold.

Robustness does not come with the block here. At noise of σ = 0.5 the backbone alone has
a median test accuracy of 0.896, with a trained ReLU layer before it 0.898, with blocks
of a random rotation 0.880 to 0.891 and of a trained one 0.885 to 0.904, best with the
ReLU; the seeds of one network differ by 0.010 to 0.020. At σ = 1 the backbone alone has
0.648, the blocks 0.586 to 0.649. More steps do help a random block with the ReLU: one
step (`--block-steps 1`, three seeds) has 0.860 and 0.558 where five have 0.889 and
0.602.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.experiment import Check
from experiments.noisy_digits import accuracies, ways
from experiments.proximal_descent import (
    Descent,
    NeuralOptimizationSettings,
    descent,
    proximal_maps,
)
from experiments.table import print_table, spread

ROUNDING = 1e-13  # of float64, relative to the objective at the start


def run_neural_optimization(
    settings: NeuralOptimizationSettings,
) -> tuple[Mapping[str, Descent], Mapping[str, np.ndarray]]:
    """Follows every descent and trains every network; prints tables and claims.

    Args:
        settings: they have no problems.

    Returns:
        What each descent did, and the accuracies of each network.
    """
    descents = {
        name: descent(proximal, settings)
        for name, proximal in proximal_maps(settings).items()
    }
    print(
        f"d = {settings.in_features}, N = {settings.code_features}, "
        f"{settings.descent_steps:,} steps from {settings.inputs} inputs"
    )
    print_table(
        ("map", "largest rise of Q / Q_0", "Q_T / Q_0", "largest t (Q_t - Q*) / bound"),
        [
            (
                name,
                f"{one.rise:.1e}",
                f"{one.left:.1e}",
                "-" if one.share is None else f"{one.share:.3f}",
            )
            for name, one in descents.items()
        ],
    )
    for check in neural_optimization_checks(descents):
        print(check)
    found = {name: accuracies(way, settings) for name, way in ways(settings).items()}
    print(
        f"\n8×8 digits, {settings.steps:,} steps of Adam at {settings.rate:g} without "
        "noise: accuracy on noisy test images, median (lowest .. highest) of "
        f"{len(settings.seeds)} seeds"
    )
    print_table(
        ("before the backbone", "trained", *(f"σ = {s:g}" for s in settings.noises)),
        [
            (name, f"{count:,}", *map(spread, scores.T))
            for name, (scores, count) in found.items()
        ],
    )
    return descents, {name: scores for name, (scores, _) in found.items()}


def neural_optimization_checks(descents: Mapping[str, Descent]) -> Sequence[Check]:
    """Tests that every step descends, and the O(1/T) bound of convex penalties."""
    rises = {name: one.rise for name, one in descents.items()}
    checks = [
        Check(
            "no step ascends, with any map",
            max(rises.values()) <= ROUNDING,
            ", ".join(f"{name} {rise:.1e}" for name, rise in rises.items()),
        )
    ]
    shares = {n: one.share for n, one in descents.items() if one.share is not None}
    if shares:
        checks.append(
            Check(
                "with a convex penalty t (Q_t - Q*) stays below ‖y*‖² / 2",
                max(shares.values()) <= 1,
                ", ".join(f"{name} {share:.3f}" for name, share in shares.items()),
            )
        )
    return checks
