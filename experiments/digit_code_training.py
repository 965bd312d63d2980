"""Training of decoders of digits, by the codes of an encoder or of a flow."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from experiments.digit_codes import (
    GradientFlowEncodingSettings,
    Images,
    Way,
    flow_of,
    make,
)

SHOWN = 8  # test images in the figure


class Trained(NamedTuple):
    """What came of one network a seed, in nats per pixel.

    Attributes:
        curve: cross-entropy of the test images after each part of the training.
        train: that of the training images at the end.
        by_flow: that of the test images at the end, with the codes of the flow.
        shown: the first test images as they are decoded.
    """

    curve: Float[np.ndarray, "seeds measurements"]
    train: Float[np.ndarray, " seeds"]
    by_flow: Float[np.ndarray, " seeds"]
    shown: Float[np.ndarray, "seeds shown pixels"]

    @property
    def test(self) -> Float[np.ndarray, " seeds"]:
        """The cross-entropy of the test images at the end."""
        return self.curve[:, -1]


def train(
    way: Way, images: Images, tests: Images, settings: GradientFlowEncodingSettings
) -> Trained:
    """Trains a network for each seed.

    Args:
        way: how images are encoded.
        images: to train on.
        tests: to test on.
        settings: see the class.

    Returns:
        What came of it.
    """
    optimizer = optax.rmsprop(settings.rate, decay=0.9, eps=1e-6)

    def one(key: Array) -> tuple[Array, ...]:
        model_key, batch_key = jax.random.split(key)
        graph, params = nnx.split(
            make(way, images.shape[1], settings, nnx.Rngs(model_key)), nnx.Param
        )

        def loss(params: Any, images: Images) -> Float[Array, ""]:
            return jnp.mean(nnx.merge(graph, params).loss(images))

        def step(carry: Any, key: Array) -> tuple[Any, None]:
            params, state = carry
            chosen = jax.random.randint(key, (settings.batch,), 0, len(images))
            gradient = jax.grad(loss)(params, images[chosen])
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        def part(carry: Any, keys: Array) -> tuple[Any, Array]:
            carry, _ = jax.lax.scan(step, carry, keys)
            return carry, loss(carry[0], tests)

        keys = jax.random.split(batch_key, settings.steps)
        (params, _), curve = jax.lax.scan(
            part,
            (params, optimizer.init(params)),
            keys.reshape(-1, settings.measure_every),
        )
        model = nnx.merge(graph, params)
        flow = flow_of(model.decoder, settings)
        decoded = model.decoder(model(tests[:SHOWN]))
        by_flow = jnp.mean(flow.loss(tests))
        return curve, loss(params, images), by_flow, jax.nn.sigmoid(decoded)

    keys = jax.vmap(jax.random.key)(jnp.asarray(settings.seeds, jnp.uint32))
    return Trained(*map(np.asarray, jax.jit(jax.vmap(one))(keys)))
