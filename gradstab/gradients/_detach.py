"""Stopping a gradient, always or by chance."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from gradstab._checks import check_real
from gradstab.gradients._scale import scale_gradient

T = TypeVar("T")


def detach(tree: T) -> T:
    """Returns its argument, and stops the gradient through it.

    Args:
        tree: a tree of arrays.

    Returns:
        A tree like `tree`: `jax.lax.stop_gradient`, under the name that it has in this
        field.
    """
    return jax.lax.stop_gradient(tree)


def stochastic_detach(tree: T, key: Array, probability: float) -> T:
    r"""Returns its argument, and stops the gradient through it with a probability.

    .. math:: y = x, \qquad \frac{\partial L}{\partial x} = \xi
        \frac{\partial L}{\partial y}, \qquad P(\xi = 0) = p

    One coin for the whole tree. What is kept is not divided by 1 - p: where a gradient
    is linear in each of its coins, its expectation is that of the network with
    `scale_gradient(tree, 1 - p)` here, and so biased by design.

    Args:
        tree: a tree of arrays.
        key: a random key.
        probability: the probability p of stopping, in [0, 1].

    Returns:
        A tree like `tree`.

    Raises:
        ValueError: if `probability` is no number in [0, 1].

    References:
        Arpit et al., "h-detach: Modifying the LSTM Gradient Towards Better
        Optimization", ICLR 2019, arXiv:1810.03023. Its text has the probability of
        keeping, its code that of stopping.
    """
    check_real("probability", probability, 0.0, 1.0)
    stopped = jax.random.bernoulli(key, float(probability))
    return scale_gradient(tree, jnp.where(stopped, 0.0, 1.0))
