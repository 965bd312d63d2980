"""The loop around trainings that are themselves learned."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float


class Descent(NamedTuple):
    """What came of a descent.

    Attributes:
        path: the variables before each training, and at last.
        losses: after each training.
    """

    path: list[Any]
    losses: Float[np.ndarray, " trainings"]


def descend(
    slope: Callable[[Any, Any], tuple[Float[Array, ""], Any]],
    variables: Any,
    rate: float,
    trainings: Iterable[Any],
) -> Descent:
    """Takes a step of Adam after each training.

    Args:
        slope: (variables, which training) -> its loss, and the hypergradient.
        variables: where to start.
        rate: of Adam.
        trainings: which there are.

    Returns:
        What came of it.
    """
    adam = optax.adam(rate)
    update = jax.jit(adam.update)
    state, path, losses = adam.init(variables), [variables], []
    for training in trainings:
        loss, gradient = slope(path[-1], training)
        updates, state = update(gradient, state)
        path.append(optax.apply_updates(path[-1], updates))
        losses.append(float(loss))
    return Descent(path, np.asarray(losses))
