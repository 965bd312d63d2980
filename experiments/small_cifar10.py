"""CIFAR-10 with fewer pixels, normalized; in training moved and mirrored."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.data.cifar10 import SAMPLE, load_cifar10, load_cifar10_sample
from experiments.data.images import averaged

SIDE = 32


class Images(NamedTuple):
    """Images with mean 0 and variance 1 in each channel of the training set."""

    train: tuple[Float[Array, "count side side 3"], Int[Array, " count"]]
    test: tuple[Float[Array, "count side side 3"], Int[Array, " count"]]


def load_images(data_dir: Path | None, train_images: int, side: int) -> Images:
    """Loads what is trained and tested on.

    Args:
        data_dir: folder with the sample or with all of CIFAR-10; if None, the latter is
            downloaded.
        train_images: how many to train on, the first; 0 for all.
        side: pixels a side that images are averaged to, a divisor of 32.

    Returns:
        The images with their labels.
    """
    if data_dir is not None and (data_dir / SAMPLE.name).exists():
        splits = load_cifar10_sample(data_dir)
    else:
        splits = load_cifar10(data_dir)

    times = SIDE // side
    count = train_images or len(splits.train.images)
    train = averaged(splits.train.images[:count], times)
    test = averaged(splits.test.images, times)
    mean, deviation = (f(train, axis=(0, 1, 2)) for f in (np.mean, np.std))
    return Images(
        (
            jnp.asarray((train - mean) / deviation),
            jnp.asarray(splits.train.labels[:count]),
        ),
        (
            jnp.asarray((test - mean) / deviation),
            jnp.asarray(splits.test.labels),
        ),
    )


@partial(jax.jit, static_argnums=2)
def augmented(
    images: Float[Array, "batch side side 3"], key: Array, pad: int
) -> Float[Array, "batch side side 3"]:
    """Moves every image by up to `pad` pixels, and mirrors half of them."""
    count = len(images)
    places, coins = jax.random.split(key)
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def cut(image: Array, corner: Array, is_mirrored: Array) -> Array:
        moved = jax.lax.dynamic_slice(image, (*corner, 0), images.shape[1:])
        return jnp.where(is_mirrored, moved[:, ::-1], moved)

    corners = jax.random.randint(places, (count, 2), 0, 2 * pad + 1)
    return jax.vmap(cut)(padded, corners, jax.random.bernoulli(coins, shape=(count,)))
