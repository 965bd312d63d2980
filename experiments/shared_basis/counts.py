"""How many parameters the networks have, beside what their authors print."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from flax import nnx

from experiments.shared_basis.densenet import DenseNet
from experiments.shared_basis.mobilenet import MobileNetV2
from experiments.shared_basis.resnet import ResNet


@dataclass(frozen=True)
class Published:
    """A network of the paper.

    Attributes:
        name: its name there.
        data: what it is for.
        make: makes it, of `rngs`.
        parameters: in millions, as the authors' table gives them; None where it has
            none.
    """

    name: str
    data: str
    make: Callable[..., nnx.Module]
    parameters: float | None


resnet34 = partial(ResNet, (3, 4, 6, 3))
resnet32 = partial(ResNet, (5, 5, 5), features=16, shared_features=16)
resnet56 = partial(ResNet, (9, 9, 9), features=16, shared_features=16)
densenet121 = partial(DenseNet, (6, 12, 24, 16), classes=100)
cifar100 = {"classes": 100}
imagenet: dict[str, Any] = {"classes": 1000, "imagenet": True}

PUBLISHED = (
    Published("ResNet34", "CIFAR-100", partial(resnet34, **cifar100), None),
    Published(
        "ResNet34-S16U1",
        "CIFAR-100",
        partial(resnet34, shared_features=16, **cifar100),
        6.49,
    ),
    Published(
        "ResNet34-S32U1",
        "CIFAR-100",
        partial(resnet34, shared_features=32, **cifar100),
        7.73,
    ),
    Published("DenseNet121", "CIFAR-100", densenet121, None),
    Published(
        "DenseNet121-S64U4",
        "CIFAR-100",
        partial(densenet121, shared_features=64, private_features=4),
        5.08,
    ),
    Published("MobileNetV2", "CIFAR-100", partial(MobileNetV2, **cifar100), None),
    Published(
        "MobileNetV2-S++", "CIFAR-100", partial(MobileNetV2, bases=2, **cifar100), 1.90
    ),
    Published("ResNet32-S16U1*", "CIFAR-10", partial(resnet32, bases=2), 0.24),
    Published("ResNet56-S16U1", "CIFAR-10", resnet56, 0.22),
    Published("ResNet56-S16U1*", "CIFAR-10", partial(resnet56, bases=2), 0.31),
    Published("ResNet34", "ImageNet", partial(resnet34, **imagenet), None),
    Published(
        "ResNet34-S32U1",
        "ImageNet",
        partial(resnet34, shared_features=32, **imagenet),
        8.20,
    ),
    Published(
        "ResNet34-S48U1*",
        "ImageNet",
        partial(resnet34, shared_features=48, bases=2, **imagenet),
        11.79,
    ),
    Published("MobileNetV2", "ImageNet", partial(MobileNetV2, **imagenet), None),
    Published(
        "MobileNetV2-S", "ImageNet", partial(MobileNetV2, bases=1, **imagenet), 3.24
    ),
    Published(
        "MobileNetV2-S++", "ImageNet", partial(MobileNetV2, bases=2, **imagenet), 2.98
    ),
)


def count_parameters(make: Callable[..., nnx.Module]) -> int:
    """Counts the parameters of a network, and makes none of them.

    Args:
        make: makes it, of `rngs`.

    Returns:
        Their number.
    """
    outline = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    return sum(
        math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(outline, nnx.Param))
    )
