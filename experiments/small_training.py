"""Training of networks so small that one program does all of it, seeds side by side."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def train_classifier(
    answer: Callable[[Any, Array], Array],
    params: Any,
    inputs: Float[Array, "count features"],
    labels: Int[Array, " count"],
    key: Array,
    *,
    rate: float,
    batch: int,
    steps: int,
) -> Any:
    """Takes steps of Adam on the cross-entropy of random batches.

    Args:
        answer: (parameters, inputs) -> a number for each class.
        params: where to start.
        inputs: the training set.
        labels: its classes.
        key: of the batches.
        rate: learning rate.
        batch: how many of the set are in a step.
        steps: how many there are.

    Returns:
        The parameters at the end.
    """
    optimizer = optax.adam(rate)

    def loss(params: Any, chosen: Array) -> Array:
        logits = answer(params, inputs[chosen])
        return jnp.mean(
            optax.softmax_cross_entropy_with_integer_labels(logits, labels[chosen])
        )

    def step(number: Array, carry: Any) -> Any:
        params, state = carry
        fold = jax.random.fold_in(key, number)
        chosen = jax.random.randint(fold, (batch,), 0, len(labels))
        updates, state = optimizer.update(jax.grad(loss)(params, chosen), state)
        return optax.apply_updates(params, updates), state

    start = params, optimizer.init(params)
    return jax.lax.fori_loop(0, steps, step, start)[0]
