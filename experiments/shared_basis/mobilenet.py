"""MobileNetV2, the convolutions of one position within a stage shared or not."""

from typing import NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.shared_basis.layers import batch_norm, conv, he_normal, pooled


class Stage(NamedTuple):
    """A row of blocks of one width.

    Attributes:
        expansion: channels inside of a block, over those that go in.
        features: channels that come out.
        blocks: how many there are.
        strides: of the first, for images of 224×224 and for those of 32×32.
        shares: whether the blocks after the first share.
    """

    expansion: int
    features: int
    blocks: int
    strides: tuple[int, int]
    shares: bool


STAGES = (
    Stage(1, 16, 1, (1, 1), False),
    Stage(6, 24, 2, (2, 2), False),
    Stage(6, 32, 3, (2, 2), True),
    Stage(6, 64, 4, (2, 2), True),
    Stage(6, 96, 3, (1, 1), True),
    Stage(6, 160, 3, (2, 1), True),
    Stage(6, 320, 1, (1, 1), False),
)
STEM, LAST = 32, 1280


class InvertedResidual(nnx.Module):
    """Expands the channels, convolves each apart, and projects.

    Args:
        in_features: channels that go in.
        out_features: channels that come out.
        expansion: channels inside, over those that go in.
        strides: of the middle convolution.
        shared: 1 if the expansion is given with each call, 2 if the projection is too.
        projects: whether a shortcut that changes the number of channels is a
            convolution; without, there is none.
        rngs: source of the `params` keys.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        expansion: int,
        strides: int,
        *,
        shared: int = 0,
        projects: bool = False,
        rngs: nnx.Rngs,
    ):
        inside = expansion * in_features
        expands = expansion > 1
        is_own = expands and shared < 1
        self.expand = conv(in_features, inside, rngs=rngs) if is_own else None
        self.expand_norm = batch_norm(inside, rngs=rngs) if expands else None
        self.depthwise = conv(
            inside, inside, 3, strides=strides, groups=inside, rngs=rngs
        )
        self.depthwise_norm = batch_norm(inside, rngs=rngs)
        self.project = conv(inside, out_features, rngs=rngs) if shared < 2 else None
        self.project_norm = batch_norm(out_features, rngs=rngs)
        is_even = in_features == out_features
        self.has_shortcut = strides == 1 and (projects or is_even)
        self.shortcut = (
            nnx.Sequential(
                conv(in_features, out_features, rngs=rngs),
                batch_norm(out_features, rngs=rngs),
            )
            if self.has_shortcut and not is_even
            else None
        )

    def __call__(
        self,
        x: Float[Array, "batch height width in"],
        *shared: Float[Array, "features _"],
    ) -> Float[Array, "batch rows columns out"]:
        """Applies the three convolutions, and adds what the shortcut makes of x.

        Args:
            x: the images.
            *shared: the expansion and the projection, as far as they are shared.

        Returns:
            The sum.
        """
        inside = x
        if self.expand_norm is not None:
            inside = self.expand(x) if self.expand else x @ shared[0]
            inside = jax.nn.relu6(self.expand_norm(inside))
        inside = jax.nn.relu6(self.depthwise_norm(self.depthwise(inside)))
        outputs = self.project(inside) if self.project else inside @ shared[1]
        outputs = self.project_norm(outputs)
        if self.has_shortcut:
            outputs += self.shortcut(x) if self.shortcut else x
        return outputs


class SharedStage(nnx.Module):
    """Blocks of one width that share their expansion, or their projection too.

    Args:
        features: channels that go in and come out.
        expansion: channels inside, over those.
        blocks: how many there are.
        shared: 1, or 2 with the projection.
        rngs: source of the `params` keys.
    """

    def __init__(
        self, features: int, expansion: int, blocks: int, shared: int, *, rngs: nnx.Rngs
    ):
        inside = expansion * features
        shapes = [(features, inside), (inside, features)][:shared]
        self.bases = nnx.List([gs.nn.Unconstrained(one, rngs=rngs) for one in shapes])
        self.blocks = nnx.List([
            InvertedResidual(features, features, expansion, 1, shared=shared, rngs=rngs)
            for _ in range(blocks)
        ])

    def __call__(
        self, x: Float[Array, "batch height width features"]
    ) -> Float[Array, "batch height width features"]:
        """Applies the blocks."""
        matrices = [basis() for basis in self.bases]
        for block in self.blocks:
            x = block(x, *matrices)
        return x


class MobileNetV2(nnx.Module):
    """MobileNetV2; with its convolutions of one position shared, MobileNetV2-S.

    In the third to sixth stage the blocks after the first share what they expand by,
    and with two bases what they project by. There are no combinations: all of a shared
    convolution is shared, and the convolution of each channel between is the block's.

    Args:
        bases: 0, 1, or 2 for the network with two plus signs.
        classes: how many there are.
        imagenet: whether it is for images of 224×224, or of 32×32: with fewer strides,
            and shortcuts between different numbers of channels too.
        rngs: source of the `params` keys and of dropout.

    Raises:
        ValueError: if `bases` is none of these.

    References:
        Kang & Kim, NeurIPS 2021, arXiv:2006.05066; Sandler, Howard, Zhu, Zhmoginov &
        Chen, CVPR 2018, arXiv:1801.04381, whose activation min(relu(x), 6) is here in
        all places, where the authors of the former have relu within blocks.
    """

    def __init__(
        self,
        *,
        bases: int = 0,
        classes: int = 10,
        imagenet: bool = False,
        rngs: nnx.Rngs,
    ):
        if bases not in {0, 1, 2}:
            raise ValueError(f"`bases` must be 0, 1 or 2, got {bases!r}.")
        self.stem = conv(3, STEM, 3, strides=1 + imagenet, rngs=rngs)
        self.stem_norm = batch_norm(STEM, rngs=rngs)
        stages: list[nnx.Module] = []
        features = STEM
        for stage in STAGES:
            wide, strides = stage.features, stage.strides[not imagenet]
            is_shared = bool(bases and stage.shares)
            for place in range(1 if is_shared else stage.blocks):
                stages.append(
                    InvertedResidual(
                        features,
                        wide,
                        stage.expansion,
                        1 if place else strides,
                        projects=not imagenet,
                        rngs=rngs,
                    )
                )
                features = wide
            if is_shared:
                rest = stage.blocks - 1
                stages.append(
                    SharedStage(wide, stage.expansion, rest, bases, rngs=rngs)
                )
        self.stages = nnx.Sequential(*stages)
        self.last = conv(features, LAST, rngs=rngs)
        self.last_norm = batch_norm(LAST, rngs=rngs)
        self.readout = nnx.Linear(LAST, classes, kernel_init=he_normal, rngs=rngs)

    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch classes"]:
        """Answers for each image."""
        x = jax.nn.relu6(self.stem_norm(self.stem(images)))
        x = jax.nn.relu6(self.last_norm(self.last(self.stages(x))))
        return self.readout(pooled(x))
