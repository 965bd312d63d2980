"""Residual networks, their later blocks' filters shared or not."""

from collections.abc import Callable, Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.shared_basis.layers import batch_norm, conv, he_normal, pooled


class ResidualBlock(nnx.Module):
    """Two convolutions of 3×3 and a shortcut, a projection where shapes change.

    Args:
        in_features: channels that go in.
        out_features: channels that come out.
        strides: of the first convolution.
        rngs: source of the `params` keys.
    """

    def __init__(
        self, in_features: int, out_features: int, strides: int = 1, *, rngs: nnx.Rngs
    ):
        self.first = conv(in_features, out_features, 3, strides=strides, rngs=rngs)
        self.first_norm = batch_norm(out_features, rngs=rngs)
        self.second = conv(out_features, out_features, 3, rngs=rngs)
        self.second_norm = batch_norm(out_features, rngs=rngs)
        is_projected = strides != 1 or in_features != out_features
        self.shortcut = (
            nnx.Sequential(
                conv(in_features, out_features, strides=strides, rngs=rngs),
                batch_norm(out_features, rngs=rngs),
            )
            if is_projected
            else None
        )

    def __call__(
        self, x: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch rows columns out"]:
        """Adds what the two convolutions make of x to what the shortcut makes of it."""
        change = jax.nn.relu(self.first_norm(self.first(x)))
        change = self.second_norm(self.second(change))
        return jax.nn.relu(change + (self.shortcut(x) if self.shortcut else x))


class ResNet(nnx.Module):
    """A residual network; ResNet-S if it shares filters.

    Each stage halves the sides of the one before, and begins with an ordinary block.
    The rest are ordinary too, or one `gs.nn.RecursiveBlock` with batch normalization.
    ResNet34-S32U1 is `ResNet((3, 4, 6, 3), shared_features=32)`; ResNet56-S16U1* is
    `ResNet((9, 9, 9), features=16, shared_features=16, bases=2)`.

    Args:
        blocks: how many each stage has.
        features: channels of the first stage; each further one has twice as many.
        shared_features: filters of the first stage's basis, s; each further one has
            twice as many. None for an ordinary network.
        private_features: filters of a convolution's own in the first stage, u.
        bases: 1, or 2 for a basis of each block's first convolutions and one of the
            second ones: the networks with an asterisk.
        classes: how many there are.
        imagenet: whether it begins with a convolution of 7×7 at strides of 2 and a
            maximum, for images of 224×224, or with one of 3×3.
        basis: how a shared basis is held, as in `gs.nn.RecursiveBlock`.
        rngs: source of the `params` keys.

    References:
        Kang & Kim, NeurIPS 2021, arXiv:2006.05066; He, Zhang, Ren & Sun, CVPR 2016,
        arXiv:1512.03385. Their networks for CIFAR-10 shorten by padding; these project.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        features: int = 64,
        shared_features: int | None = None,
        private_features: int = 1,
        bases: int = 1,
        classes: int = 10,
        imagenet: bool = False,
        basis: Callable[[tuple[int, int]], gs.nn.Parametrization] | None = None,
        rngs: nnx.Rngs,
    ):
        side, strides = (7, 2) if imagenet else (3, 1)
        self.imagenet = imagenet
        self.stem = conv(3, features, side, strides=strides, rngs=rngs)
        self.stem_norm = batch_norm(features, rngs=rngs)
        stages, wide = [], features
        for stage, count in enumerate(blocks):
            times = 2**stage
            in_features, wide = wide, features * times
            first = ResidualBlock(in_features, wide, min(times, 2), rngs=rngs)
            stage_blocks: list[nnx.Module] = [first]
            if shared_features is None:
                stage_blocks += [
                    ResidualBlock(wide, wide, rngs=rngs) for _ in range(count - 1)
                ]
            elif count > 1:
                stage_blocks.append(
                    gs.nn.RecursiveBlock(
                        wide,
                        recursions=count - 1,
                        shared_features=shared_features * times,
                        private_features=private_features * times,
                        bases=bases,
                        basis=basis,
                        norm=batch_norm,
                        kernel_init=he_normal,
                        rngs=rngs,
                    )
                )
            stages.append(nnx.Sequential(*stage_blocks))
        self.stages = nnx.List(stages)
        self.readout = nnx.Linear(wide, classes, rngs=rngs)

    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch classes"]:
        """Answers for each image."""
        x = jax.nn.relu(self.stem_norm(self.stem(images)))
        if self.imagenet:
            x = nnx.max_pool(x, (3, 3), (2, 2), padding="SAME")
        for stage in self.stages:
            x = stage(x)
        return self.readout(pooled(x))
