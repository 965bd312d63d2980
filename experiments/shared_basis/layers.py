"""What the networks have in common: convolutions without biases, and how they start."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

# He, Zhang, Ren & Sun, ICCV 2015, of the channels that go out.
he_normal = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
# A tenth of each batch comes into the running statistics.
batch_norm = partial(nnx.BatchNorm, momentum=0.9)


def conv(
    in_features: int,
    out_features: int,
    side: int = 1,
    *,
    strides: int = 1,
    groups: int = 1,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Makes a convolution of square filters, padded by as much on every side.

    Args:
        in_features: channels that go in.
        out_features: channels that come out.
        side: of a filter, odd.
        strides: positions that it moves by.
        groups: parts of the channels that are convolved apart.
        rngs: source of the `params` keys.

    Returns:
        The convolution, without a bias.
    """
    return nnx.Conv(
        in_features,
        out_features,
        (side, side),
        strides=strides,
        padding=side // 2,
        feature_group_count=groups,
        use_bias=False,
        kernel_init=he_normal,
        rngs=rngs,
    )


def pooled(
    images: Float[Array, "batch height width features"],
) -> Float[Array, "batch features"]:
    """Takes the mean over all positions."""
    return jnp.mean(images, axis=(1, 2))
