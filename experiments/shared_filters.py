"""Residual networks that share filters: `python -m experiments shared_filters`.

Kang & Kim ("Deeply Shared Filter Bases for Parameter-Efficient Convolutional Neural
Networks", NeurIPS 2021, arXiv:2006.05066) let all convolutions of a stage but those of
its first block share a basis of filters, orthonormal at first and held so by a penalty
of λ = 10, lest the gradient of the basis vanish or explode. They train on CIFAR and
ImageNet for 150 to 300 passes.

The first table counts the parameters of their networks. The second is the norm of the
gradient of each stage's basis before training, by the number of blocks that share it.
The third is what comes of training: of ordinary networks, and of those that share, with
and without the penalty.

What came out. The counts are those of the authors' tables, which round some and cut
others, but for two: DenseNet121-S64U4, 5.61 million where they print 5.08, and
ResNet56-S16U1, 0.27 where they print 0.22. With normalization gradients grow toward the
input whatever the basis: from 1 to 7 recursions that of the first stage's goes from 1.1
to 20 if it is orthonormal, from 0.83 to 15 as He et al. draw it, and from 1.2 to 22 if
that is scaled to the same norm. So before training it is the scale alone that tells
them apart, as it is without normalization (`recursive_gratings`). In training it is the
penalty that matters: ‖BᵀB - I‖² per entry ends at 1.2·10⁻³ and 3.7·10⁻³ at 1 and 7
recursions with it, at 0.014 and 8.1 without. The accuracies are 0.397 and 0.242 with
it, 0.376 and 0.132 without, and 0.390 and 0.123 of ordinary networks, which have
175,258 and 758,554 parameters where those that share have 144,822 and 255,198. One
seed, three passes, a rate of 0.1: the deep ones have hardly begun.

What differs: `shared_filters` takes 3,500 images, averaged over 2×2 pixels, for a few
passes, so that accuracies are not comparable with published ones. Their setting is
`--side 32 --batch 256 --passes 300` with all of CIFAR-10, hours on an accelerator; no
run is kept. The shared bases are spared by weight decay, which works against the
penalty.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from jaxtyping import Float

from experiments.experiment import Check
from experiments.shared_basis import PUBLISHED, count_parameters
from experiments.sharing_network import STARTS, SharedFiltersSettings, Start
from experiments.sharing_training import WAYS, Trained, Way, gradients, train
from experiments.small_cifar10 import load_images
from experiments.table import print_table

HELD = "‖BᵀB - I‖² per entry", "gradient of the bases, first and last tenth"
Gradients = Mapping[tuple[int, Start], Float[np.ndarray, "draws stages"]]
Results = Mapping[tuple[int, Way], Sequence[Trained]]


def run_shared_filters(settings: SharedFiltersSettings) -> tuple[Gradients, Results]:
    """Counts, measures and trains; prints the tables and the claims.

    Args:
        settings: they have no problems.

    Returns:
        The gradients before training of each number of blocks and start, and what came
        of each network.
    """
    images = load_images(settings.data_dir, settings.train_images, settings.side)
    print("parameters of the published networks")
    print_table(
        ("network", "data", "parameters", "printed by the authors"),
        [
            (
                one.name,
                one.data,
                f"{count_parameters(one.make):,}",
                f"{one.parameters:.2f} million" if one.parameters else "-",
            )
            for one in PUBLISHED
        ],
    )
    first: dict[tuple[int, Start], np.ndarray] = {
        (blocks, start): gradients(blocks, start, images, settings)
        for blocks, start in product(settings.blocks, STARTS)
    }
    print(
        "norm of the gradient of each stage's basis before training: "
        f"median of {settings.draws} draws"
    )
    print_table(
        ("recursions", "start", *(f"stage {1 + x}" for x in range(settings.stages))),
        [
            (str(blocks - 1), start, *(f"{x:.2g}" for x in np.median(norms, axis=0)))
            for (blocks, start), norms in first.items()
        ],
    )
    found: dict[tuple[int, Way], Sequence[Trained]] = {
        (blocks, way): [
            train(blocks, way, images, settings, seed) for seed in settings.seeds
        ]
        for blocks, way in product(settings.train_blocks, WAYS)
    }
    print(
        f"after {settings.passes} passes through {len(images.train[1]):,} images: "
        f"medians of {len(settings.seeds)} seeds"
    )
    print_table(
        ("recursions", "network", "parameters", "accuracy", *HELD),
        [row(*key, many) for key, many in found.items()],
    )
    for check in shared_filters_checks(found):
        print(check)
    return first, found


def row(blocks: int, way: Way, found: Sequence[Trained]) -> tuple[str, ...]:
    """Words a line of the third table."""
    accuracy = float(np.median([one.accuracy for one in found]))
    held = "-", "-"
    if way != "ordinary":
        penalty = np.median([one.penalty for one in found])
        tenth = max(1, len(found[0].gradients) // 10)
        early, late = (
            np.median([one.gradients[part] for one in found])
            for part in (slice(tenth), slice(-tenth, None))
        )
        held = f"{penalty:.1e}", f"{early:.2g}, {late:.2g}"
    return str(blocks - 1), way, f"{found[0].parameters:,}", f"{accuracy:.3f}", *held


def shared_filters_checks(found: Results) -> Sequence[Check]:
    """Tests that the penalty holds the bases, whatever the number of recursions."""
    pairs = [
        (
            max(one.penalty for one in found[blocks, "shared, penalized"]),
            min(one.penalty for one in found[blocks, "shared"]),
        )
        for blocks in sorted({blocks for blocks, _ in found})
    ]
    return [
        Check(
            "the penalty holds the bases nearer to orthonormal than training alone",
            all(held < free for held, free in pairs),
            ", ".join(f"{held:.1e} against {free:.1e}" for held, free in pairs),
        )
    ]
