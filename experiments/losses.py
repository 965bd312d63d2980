"""Losses of sequences."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def squared_errors(
    answers: Float[Array, "batch 1"], targets: Float[Array, "batch 1"]
) -> Float[Array, " batch"]:
    """The squared error of each sequence."""
    return jnp.sum((answers - targets) ** 2, axis=-1)


def cross_entropies(
    answers: Float[Array, "batch time classes"], targets: Int[Array, "batch time"]
) -> Float[Array, " batch"]:
    """The mean cross-entropy over the time steps of each sequence."""
    losses = optax.softmax_cross_entropy_with_integer_labels(answers, targets)
    return jnp.mean(losses, axis=-1)
