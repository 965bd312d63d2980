"""Digits of two domains: clear ones, and others in fog or inverted."""

from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from experiments.data import load_digits, load_mnist
from experiments.data.images import averaged

THINNEST, THICKEST = 0.1, 0.7  # share of the fog in a pixel
Shift = Literal["fog", "invert"]


class Batch(NamedTuple):
    """Images of both domains; the labels of the other one are not looked at."""

    images: Float[Array, "batch side side 1"]
    labels: Int[Array, " batch"]
    is_target: Bool[Array, " batch"]


class Digits(NamedTuple):
    """Images between 0, black, and 1, white, with their digits."""

    images: Float[Array, "count side side 1"]
    labels: Int[Array, " count"]


class Domains(NamedTuple):
    """Training and test images of both domains."""

    source: Digits
    target: Digits
    source_test: Digits
    target_test: Digits


def shifted(
    images: Float[Array, "count side side 1"], shift: Shift, key: Array
) -> Float[Array, "count side side 1"]:
    """Moves images to the other domain.

    Args:
        images: between 0, black, and 1, white.
        shift: `invert`, or `fog`: white, of a share that grows along a random
            direction.
        key: of the directions.

    Returns:
        The images, between 0 and 1.
    """
    if shift == "invert":
        return 1 - images
    count, side = images.shape[:2]
    angles = jax.random.uniform(key, (count, 1, 1), maxval=2 * jnp.pi)
    rows, columns = (x[None] / (side - 1) - 0.5 for x in jnp.mgrid[:side, :side])
    along = rows * jnp.sin(angles) + columns * jnp.cos(angles)  # up to 1/√2 each way
    share = THINNEST + (THICKEST - THINNEST) * (along / 2**0.5 + 0.5)
    return images + share[..., None] * (1 - images)


def load_domains(data_dir: Path | None, shift: Shift, count: int) -> Domains:
    """Loads digits, and moves half of them to the other domain.

    Args:
        data_dir: folder with MNIST's four files, averaged to 14×14 pixels; None for
            the digits of 8×8 pixels that come with scikit-learn.
        shift: what makes the other domain.
        count: training images of each domain, at most.

    Returns:
        Training images, none of which is in both domains, and all test images in both.
    """
    train, test = _load(data_dir)
    count = min(count, len(train.labels) // 2)
    source = Digits(train.images[:count], train.labels[:count])
    target = Digits(train.images[count : 2 * count], train.labels[count : 2 * count])
    keys = jax.random.split(jax.random.key(0))
    moved, moved_test = (
        Digits(shifted(one.images, shift, key), one.labels)
        for one, key in zip((target, test), keys, strict=True)
    )
    return Domains(source, moved, test, moved_test)


def _load(data_dir: Path | None) -> tuple[Digits, Digits]:
    """Loads training and test images of one domain."""
    if data_dir is None:
        digits = load_digits()
        found = [
            ((pixels.reshape(-1, 8, 8, 1) + 1) / 2, labels)
            for pixels, labels in (digits.train, digits.test)
        ]
    else:
        splits = load_mnist(data_dir)
        found = [
            (averaged(one.images.reshape(-1, 28, 28, 1), 2), one.labels)
            for one in (splits.train, splits.test)
        ]
    train, test = (
        Digits(jnp.asarray(images), jnp.asarray(labels)) for images, labels in found
    )
    return train, test


def draw(domains: Domains, key: Array, count: int) -> Batch:
    """Draws as many images of each domain."""
    parts = [
        tuple(
            x[jax.random.randint(one, (count,), 0, len(domain.labels))] for x in domain
        )
        for one, domain in zip(
            jax.random.split(key), (domains.source, domains.target), strict=True
        )
    ]
    images, labels = (jnp.concatenate(both) for both in zip(*parts, strict=True))
    return Batch(images, labels, jnp.arange(2 * count) >= count)
