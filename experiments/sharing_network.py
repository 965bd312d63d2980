"""A residual network for CIFAR-10 whose stages share filters, or do not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from flax import nnx
from jaxtyping import Array

import gradstab as gs
from experiments.limits import Limited, flag
from experiments.shared_basis import ResNet

Start = Literal["orthonormal", "he", "he, scaled"]
STARTS: tuple[Start, ...] = get_args(Start)


@dataclass(frozen=True)
class SharedFiltersSettings(Limited):
    """Residual networks on CIFAR-10, filters shared or not.

    Attributes:
        data_dir: folder with the sample `cifar10_sample.npz`, or with all of CIFAR-10,
            `cifar-10-binary.tar.gz`; without, the latter is downloaded.
        train_images: how many training images are used, the first; 0 for all.
        side: pixels a side that images are averaged to.
        stages: how many there are, each with half of the side of the one before.
        blocks: of each stage, where gradients are measured before training; the first
            of a stage shares nothing.
        train_blocks: of each stage of the networks that are trained.
        features: channels of the first stage, and filters of its basis.
        penalty: λ.
        rate: learning rate of the first half of the steps; a tenth of it in the third
            quarter, a hundredth in the last.
        momentum: of the gradient descent.
        decay: weight decay, of all but the shared bases.
        batch: images in a training step.
        passes: through the training set.
        draws: networks whose gradient is measured before training.
        seeds: one network each.
    """

    data_dir: Path | None = None
    train_images: int = 0
    side: int = 16
    stages: int = 3
    blocks: tuple[int, ...] = (2, 4, 8)
    train_blocks: tuple[int, ...] = (2, 8)
    features: int = 16
    penalty: float = 10.0
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4
    batch: int = 64
    passes: int = 3
    draws: int = 5
    seeds: tuple[int, ...] = (0,)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "stages", "features", "batch", "passes", "draws")
        found += self.below(0, "train_images", "penalty", "decay")
        if self.side not in {8, 16, 32}:
            found.append(f"--side must be 8, 16 or 32, got {self.side}.")
        for name in ("blocks", "train_blocks"):
            if min(getattr(self, name), default=0) < 2:
                found.append(
                    f"--{flag(name)} must be at least one number, none below 2."
                )
        found += self.not_positive("rate") + self.not_momenta("momentum")
        return found + self.not_seeds("seeds")


def network(
    blocks: int, start: Start | None, settings: SharedFiltersSettings, key: Array
) -> ResNet:
    """Makes a network.

    Args:
        blocks: of each stage.
        start: how its shared bases are drawn; None for an ordinary network.
        settings: see the class.
        key: of all that is drawn.

    Returns:
        The network.
    """
    rngs = nnx.Rngs(key)

    def he(shape: tuple[int, int]) -> gs.nn.Unconstrained:
        # Of what goes out of 9 positions, as the convolutions that share nothing; or
        # of the norm that orthonormal columns have, which tells how much is scale.
        variance = 2 / (9 * shape[1]) if start == "he" else 1 / shape[0]
        init = nnx.initializers.normal(variance**0.5)
        return gs.nn.Unconstrained(shape, matrix_init=init, rngs=rngs)

    return ResNet(
        (blocks,) * settings.stages,
        features=settings.features,
        shared_features=settings.features if start else None,
        basis=None if start == "orthonormal" else he,
        rngs=rngs,
    )


def bases_of(tree: Any) -> list[Any]:
    """Lists the shared bases of every stage of a network, or what belongs to them."""
    blocks = (stage["layers"][1] for stage in tree["stages"].values())
    return [block["bases"] for block in blocks if "bases" in block]


def is_basis(path: Sequence[Any]) -> bool:
    """Tells whether a path leads to a shared basis."""
    return "bases" in path
