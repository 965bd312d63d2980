"""A classifier of digits whose training is itself learned: `learn_*`."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from experiments.data import load_digits, load_mnist

DIGITS = 10
SMALL_IMAGES = 1_077  # how many 8×8 digits there are to train on
Params = dict[str, dict[str, Array]]


class Digits(NamedTuple):
    """Images as rows, with their labels.

    Attributes:
        images: pixels around 0.
        labels: from 0 to 9.
    """

    images: Float[Array, "count pixels"]
    labels: Int[Array, " count"]


def load(data_dir: Path | None, train_images: int) -> tuple[Digits, Digits]:
    """Loads digits to train on and others.

    Args:
        data_dir: folder with MNIST's four files; the 8×8 digits of scikit-learn if
            None.
        train_images: how many to train on, at most, the first.

    Returns:
        Both sets.
    """
    if data_dir is None:
        digits = load_digits()
        parts = [
            (images[..., 0], labels) for images, labels in (digits.train, digits.test)
        ]
    else:
        splits = load_mnist(data_dir)
        # Of about the length that the small images have, so that steps are as long.
        middle = splits.train.images.mean()
        parts = [
            ((part.images - middle) / 255, part.labels)
            for part in (splits.train, splits.test)
        ]
    train, test = (
        Digits(
            jnp.asarray(images.reshape(len(images), -1), jnp.float32),
            jnp.asarray(labels, jnp.int32),
        )
        for images, labels in parts
    )
    return Digits(*(part[:train_images] for part in train)), test


def draw(sizes: Sequence[int], key: Array) -> Params:
    """Draws kernels of variance 1 / fan-in, and biases of 0, from the inputs on."""
    layers = {}
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        noise = jax.random.normal(jax.random.fold_in(key, i), (fan_in, fan_out))
        layers[f"layer {i + 1}"] = {
            "kernel": noise / math.sqrt(fan_in),
            "bias": jnp.zeros(fan_out),
        }
    return layers


def undecided(pixels: int) -> Params:
    """Makes the one layer of logistic regression, of zeros."""
    shape = pixels, DIGITS
    return {"layer 1": {"kernel": jnp.zeros(shape), "bias": jnp.zeros(DIGITS)}}


def logits(params: Params, images: Float[Array, "count pixels"]) -> Array:
    """Applies the layers, with tanh between them."""
    *hidden, last = params.values()
    for layer in hidden:
        images = jnp.tanh(images @ layer["kernel"] + layer["bias"][None])
    return images @ last["kernel"] + last["bias"][None]


def cross_entropy(params: Params, digits: Digits) -> Float[Array, ""]:
    """Returns the mean loss in nats."""
    logs = jax.nn.log_softmax(logits(params, digits.images))
    return -jnp.mean(jnp.take_along_axis(logs, digits.labels[:, None], axis=1))


def accuracy(params: Params, digits: Digits) -> Float[Array, ""]:
    """Returns the share of digits that are told right."""
    return jnp.mean(jnp.argmax(logits(params, digits.images), axis=1) == digits.labels)


def minibatch_loss(
    batch: int,
) -> Callable[[Params, Digits, Int[Array, ""]], Float[Array, ""]]:
    """Makes the loss of a step, on the images whose turn it is.

    Args:
        batch: how many are read in a step, one after another.

    Returns:
        A function of parameters, all images in their order, and the step.
    """

    def loss(params: Params, digits: Digits, step: Int[Array, ""]) -> Array:
        count = len(digits.labels) - len(digits.labels) % batch
        first = step * batch % count
        chosen = (jax.lax.dynamic_slice_in_dim(part, first, batch) for part in digits)
        return cross_entropy(params, Digits(*chosen))

    return loss
