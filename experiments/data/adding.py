"""The adding problem: remember two numbers of a long sequence and add them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# The target is the sum of two numbers uniform in [0, 1]: mean 1, variance 2/12.
TRIVIAL_ERROR = 1 / 6


def adding_batch(
    key: Array, *, batch: int, length: int
) -> tuple[Float[Array, "batch length 2"], Float[Array, "batch 1"]]:
    """Draws sequences of the adding problem.

    Each step holds a number uniform in [0, 1) and a marker. The marker is 1 at one step
    of the first half, [0, length // 2), and at one step of the second, 0 elsewhere; the
    target is the sum of the two marked numbers. Whoever always answers 1 has a mean
    squared error of `TRIVIAL_ERROR`.

    Args:
        key: a random key. The same key gives the same sequences.
        batch: how many sequences.
        length: time steps of each.

    Returns:
        The inputs, (number, marker) on the last axis, and the targets.

    Raises:
        ValueError: if `length` leaves a half without a step.

    References:
        Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 1997.
        In theirs the numbers lie in [-1, 1] and the first marker comes early.
    """
    if length < 2:
        raise ValueError(f"`length` must be at least 2, a step a half, got {length}.")
    # One draw for numbers and places: each draw more is a second of compilation.
    drawn = jax.random.uniform(key, (batch, length + 2))
    numbers, places = drawn[:, :length], drawn[:, length:]
    half = length // 2
    first = jnp.floor(places[:, :1] * half)
    second = half + jnp.floor(places[:, 1:] * (length - half))
    steps = jnp.arange(length, dtype=jnp.float32)[None]
    marker = ((steps == first) | (steps == second)).astype(jnp.float32)
    targets = jnp.sum(numbers * marker, axis=1, keepdims=True)
    return jnp.stack([numbers, marker], axis=-1), targets
