"""Densely connected networks, the filters within a block shared or not."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.shared_basis.layers import batch_norm, conv, he_normal, pooled

BOTTLENECK = 4  # channels inside a layer, over those that it adds


class DenseLayer(nnx.Module):
    """Adds channels to those it is given.

    Args:
        in_features: channels that go in.
        growth: channels that are added.
        shared_features: filters of the basis; None for a convolution of its own.
        private_features: filters of its own beside a basis.
        rngs: source of the `params` keys.
    """

    def __init__(
        self,
        in_features: int,
        growth: int,
        shared_features: int | None,
        private_features: int,
        *,
        rngs: nnx.Rngs,
    ):
        inside = BOTTLENECK * growth
        self.norm = batch_norm(in_features, rngs=rngs)
        self.bottleneck = conv(in_features, inside, rngs=rngs)
        self.inner_norm = batch_norm(inside, rngs=rngs)
        if shared_features is None:
            self.conv = conv(inside, growth, 3, rngs=rngs)
        else:
            self.conv = gs.nn.SharedBasisConv(
                inside,
                growth,
                (3, 3),
                shared_features=shared_features,
                private_features=private_features,
                norm=batch_norm,
                normalize_outputs=False,
                kernel_init=he_normal,
                rngs=rngs,
            )

    def __call__(
        self,
        x: Float[Array, "batch height width in"],
        basis: Float[Array, "3 3 inside s"] | None,
    ) -> Float[Array, "batch height width more"]:
        """Puts what it makes of x behind x."""
        inside = self.bottleneck(jax.nn.relu(self.norm(x)))
        inside = jax.nn.relu(self.inner_norm(inside))
        if isinstance(self.conv, gs.nn.SharedBasisConv):
            assert basis is not None
            more = self.conv(inside, basis)
        else:
            more = self.conv(inside)
        return jnp.concatenate([x, more], axis=-1)


class DenseBlock(nnx.Module):
    """Dense layers in a row, which may share a basis.

    Args:
        in_features: channels that go in.
        layers: how many there are.
        growth: channels that each adds.
        shared_features: filters of the basis; None for none.
        private_features: filters of each layer's own beside it.
        rngs: source of the `params` keys.
    """

    def __init__(
        self,
        in_features: int,
        layers: int,
        growth: int,
        shared_features: int | None,
        private_features: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.kernel_shape = (3, 3, BOTTLENECK * growth, shared_features or 0)
        rows = 9 * BOTTLENECK * growth
        self.bases = nnx.List(
            [gs.nn.Unconstrained((rows, shared_features), rngs=rngs)]
            if shared_features
            else []
        )
        self.layers = nnx.List([
            DenseLayer(
                in_features + growth * place,
                growth,
                shared_features,
                private_features,
                rngs=rngs,
            )
            for place in range(layers)
        ])

    def __call__(
        self, x: Float[Array, "batch height width in"]
    ) -> Float[Array, "batch height width out"]:
        """Adds the channels of every layer."""
        kernels = [basis().reshape(self.kernel_shape) for basis in self.bases]
        for layer in self.layers:
            x = layer(x, *(kernels or [None]))
        return x


class DenseNet(nnx.Module):
    """A densely connected network of the form BC; DenseNet-S if it shares filters.

    DenseNet121-S64U4 is `DenseNet((6, 12, 24, 16), shared_features=64,
    private_features=4)`: unlike in the residual networks every block has as many
    filters. The filters that are shared are those of 3×3, which answer for each
    position of 4 · growth channels.

    Args:
        layers: how many each block has.
        growth: channels that a layer adds.
        shared_features: filters of each block's basis, s; None for an ordinary network.
        private_features: filters of a layer's own beside it, u.
        classes: how many there are.
        imagenet: whether it begins with a convolution of 7×7 at strides of 2 and a
            maximum, for images of 224×224, or with one of 3×3.
        rngs: source of the `params` keys.

    References:
        Kang & Kim, NeurIPS 2021, arXiv:2006.05066; Huang, Liu, van der Maaten &
        Weinberger, CVPR 2017, arXiv:1608.06993. In the authors' program the last two
        blocks use one basis; here each block has its own, as the text says. Of
        DenseNet121-S64U4 for 100 classes they print 5.08 million parameters; it has
        5.61, and 5.53 with the one basis for two blocks.
    """

    def __init__(
        self,
        layers: Sequence[int],
        *,
        growth: int = 32,
        shared_features: int | None = None,
        private_features: int = 1,
        classes: int = 10,
        imagenet: bool = False,
        rngs: nnx.Rngs,
    ):
        side, strides = (7, 2) if imagenet else (3, 1)
        features = 2 * growth
        self.stem = conv(3, features, side, strides=strides, rngs=rngs)
        self.stem_norm = batch_norm(features, rngs=rngs) if imagenet else None
        blocks, norms, reductions = [], [], []
        for place, count in enumerate(layers):
            if place:
                reductions.append(conv(features, features // 2, rngs=rngs))
                features //= 2
            blocks.append(
                DenseBlock(
                    features,
                    count,
                    growth,
                    shared_features,
                    private_features,
                    rngs=rngs,
                )
            )
            features += growth * count
            norms.append(batch_norm(features, rngs=rngs))
        self.blocks, self.norms = nnx.List(blocks), nnx.List(norms)
        self.reductions = nnx.List(reductions)
        self.readout = nnx.Linear(features, classes, rngs=rngs)

    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch classes"]:
        """Answers for each image."""
        x = self.stem(images)
        if self.stem_norm is not None:
            x = jax.nn.relu(self.stem_norm(x))
            x = nnx.max_pool(x, (3, 3), (2, 2), padding="SAME")
        for place, block in enumerate(self.blocks):
            if place:
                x = nnx.avg_pool(self.reductions[place - 1](x), (2, 2), (2, 2))
            x = jax.nn.relu(self.norms[place](block(x)))
        return self.readout(pooled(x))
