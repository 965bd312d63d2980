"""Noisy digits, read by networks with and without a proximal block before them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.data import load_digits
from experiments.proximal_descent import NeuralOptimizationSettings, proximal_maps
from experiments.small_training import train_classifier

DIGITS = 10


class Network(nnx.Module):
    """A backbone of two hidden layers, and what comes before it.

    Args:
        before: a layer from pixels to more features, or None.
        features: how many it gives.
        width: of the hidden layers.
        rngs: source of the `params` keys.
    """

    def __init__(
        self, before: nnx.Module | None, features: int, width: int, *, rngs: nnx.Rngs
    ):
        self.before = nnx.data(before)
        self.first = nnx.Linear(features, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.readout = nnx.Linear(width, DIGITS, rngs=rngs)

    def __call__(self, inputs: Float[Array, "batch pixels"]) -> Array:
        """Answers for each image."""
        h = inputs if self.before is None else self.before(inputs)
        h = jax.nn.relu(self.first(h))
        return self.readout(jax.nn.relu(self.second(h)))


class Way(NamedTuple):
    """What to put before the backbone."""

    make: Callable[[int, nnx.Rngs], nnx.Module | None]  # of a number of pixels
    is_trained: bool = True

    def before(self, pixels: int, rngs: nnx.Rngs) -> nnx.Module | None:
        """Makes it; what is not trained has been built, and has no parameter."""
        made = self.make(pixels, rngs)
        if made is None or self.is_trained:
            return made
        return gs.nn.materialize(made)


def ways(settings: NeuralOptimizationSettings) -> dict[str, Way]:
    """Names what is put before the backbone; all but nothing doubles the features."""

    def layer(pixels: int, rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Sequential(nnx.Linear(pixels, 2 * pixels, rngs=rngs), jax.nn.relu)

    def block_of(proximal: gs.nn.ProximalMap):
        def block(pixels: int, rngs: nnx.Rngs) -> nnx.Module:
            rotation = gs.nn.Householder(
                (pixels, pixels), matrix_init=nnx.initializers.orthogonal(), rngs=rngs
            )
            return gs.nn.ProximalBlock(
                pixels,
                2 * pixels,
                steps=settings.block_steps,
                proximal=proximal,
                rotation=rotation,
                rngs=rngs,
            )

        return block

    found = {
        "nothing": Way(lambda pixels, rngs: None),
        "trained ReLU layer": Way(layer),
    }
    for name, proximal in proximal_maps(settings).items():
        for kind, is_trained in (("random", False), ("trained", True)):
            found[f"block, {name}, {kind}"] = Way(block_of(proximal), is_trained)
    return found


def accuracies(
    way: Way, settings: NeuralOptimizationSettings
) -> tuple[Float[np.ndarray, "seeds noises"], int]:
    """Trains a network for each seed on clean images.

    Args:
        way: what is put before the backbone.
        settings: see the class.

    Returns:
        The test accuracy of each at each noise, and how many numbers were trained.
    """
    digits = load_digits()
    (inputs, labels), (tests, answers) = (
        (jnp.asarray(part[0][..., 0]), jnp.asarray(part[1]))
        for part in (digits.train, digits.test)
    )
    pixels = inputs.shape[1]

    def make(rngs: nnx.Rngs) -> Network:
        before = way.before(pixels, rngs)
        features = pixels if before is None else 2 * pixels
        return Network(before, features, settings.width, rngs=rngs)

    def train(key: Array) -> Array:
        model_key, batch_key, noise_key = jax.random.split(key, 3)
        graph, params, fixed = nnx.split(make(nnx.Rngs(model_key)), nnx.Param, ...)

        def answer(params, images):
            return gs.nn.materialize(nnx.merge(graph, params, fixed))(images)

        params = train_classifier(
            answer,
            params,
            inputs,
            labels,
            batch_key,
            rate=settings.rate,
            batch=settings.batch,
            steps=settings.steps,
        )
        noise = jax.random.normal(noise_key, (settings.draws, *tests.shape))

        def score(level):
            found = jnp.argmax(answer(params, tests[None] + level * noise), axis=-1)
            return jnp.mean(jnp.where(found == answers[None], 1.0, 0.0))

        return jax.lax.map(score, jnp.asarray(settings.noises))

    keys = jax.vmap(jax.random.key)(jnp.asarray(settings.seeds, jnp.uint32))
    scores = np.asarray(jax.jit(jax.vmap(train))(keys))
    params = jax.tree.leaves(nnx.state(make(nnx.Rngs(0)), nnx.Param))
    return scores, sum(leaf.size for leaf in params)
