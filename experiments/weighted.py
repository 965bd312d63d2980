"""Targets of which some count and others do not."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Inexact, Int


class Weighted(NamedTuple):
    """What is to be answered at each time step, and how much it counts.

    Attributes:
        values: the targets, of any shape from the third axis on.
        weights: 0 for padding and for what is read but not scored.
    """

    values: Inexact[Array, "batch time *rest"] | Int[Array, "batch time *rest"]
    weights: Float[Array, "batch time"]


def weighted_cross_entropies(
    answers: Float[Array, "batch time classes"], targets: Weighted
) -> Float[Array, " batch"]:
    """The weighted sum of the cross-entropies of each sequence, in nats."""
    losses = optax.softmax_cross_entropy_with_integer_labels(answers, targets.values)
    return jnp.sum(losses * targets.weights, axis=-1)


def weighted_bernoulli(
    answers: Float[Array, "batch time keys"], targets: Weighted
) -> Float[Array, " batch"]:
    """The weighted sum of the negative log-likelihoods of each sequence, in nats."""
    losses = optax.sigmoid_binary_cross_entropy(answers, targets.values)
    return jnp.sum(jnp.sum(losses, axis=-1) * targets.weights, axis=-1)
