"""Activations whose value gives their derivative."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_SLOPES = {
    jnp.tanh: lambda value: 1 - value**2,
    jax.nn.relu: lambda value: (value > 0).astype(value.dtype),
    jax.nn.leaky_relu: lambda value: jnp.where(value < 0, 0.01, 1).astype(value.dtype),
    jax.nn.sigmoid: lambda value: value * (1 - value),
}


def slope_from_value(
    activation_fn: Callable[..., Array],
) -> Callable[[Float[Array, "..."]], Float[Array, "..."]] | None:
    """Returns the derivative of an activation as a function of its value.

    Args:
        activation_fn: an activation with its default options.

    Returns:
        The function, of slopes in [0, 1]; or None for an activation that is not known.
    """
    return _SLOPES.get(activation_fn)
