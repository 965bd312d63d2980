"""Sequences of different lengths in one array."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int


def check_lengths(
    lengths: Any, steps: int, batch: tuple[int, ...]
) -> Int[Array, "*batch"]:
    """Checks the lengths of the sequences of a batch.

    Args:
        lengths: integers of shape `batch`. Traced values cannot be checked.
        steps: the longest they may be.
        batch: shape of the batch.

    Returns:
        The lengths, clamped to [0, steps].

    Raises:
        ValueError: for another shape, for other numbers than integers, and for values
            outside [0, steps].
    """
    traced = isinstance(lengths, Tracer)
    known = lengths if traced else np.asarray(lengths)
    if known.shape != batch or not jnp.issubdtype(known.dtype, jnp.integer):
        raise ValueError(
            f"`seq_lengths` must be integers of shape {batch}, got {known.dtype.name} "
            f"of shape {known.shape}."
        )
    if not traced and known.size and (known.min() < 0 or known.max() > steps):
        raise ValueError(
            f"`seq_lengths` must lie in [0, {steps}], the length of the inputs, "
            f"got values from {known.min()} to {known.max()}."
        )
    # Narrow and unsigned integers would wrap around where times are compared.
    return jnp.clip(jnp.asarray(lengths, jnp.int32), 0, steps)


def step_mask(
    lengths: Int[Array, "*batch"], steps: int, time_axis: int
) -> Bool[Array, "..."]:
    """Marks the time steps before the end of each sequence."""
    lengths, times = _against_time(lengths, steps, time_axis)
    return times < lengths


def flip(outputs: Array, lengths: Int[Array, "*batch"] | None, time_axis: int) -> Array:
    """Turns each sequence around within its length; the padding stays at the end.

    Args:
        outputs: an array that is zero in the padding.
        lengths: the length of each sequence; None for all of the array.
        time_axis: the place of time in it, after or before the axes of `lengths`.

    Returns:
        An array of the same shape.
    """
    if lengths is None:
        return jnp.flip(outputs, time_axis)
    steps = outputs.shape[time_axis]
    lengths, times = _against_time(lengths, steps, time_axis)
    order = lengths - 1 - times
    # The padding changes places with itself.
    order = jnp.where(order < 0, order + steps, order)
    order = order.reshape(*order.shape, *[1] * (outputs.ndim - order.ndim))
    return jnp.take_along_axis(outputs, order, axis=time_axis)


def _against_time(lengths: Array, steps: int, time_axis: int) -> tuple[Array, Array]:
    """Gives lengths and times the axes of time and batch."""
    lengths = jnp.expand_dims(lengths, time_axis)
    times = jnp.arange(steps, dtype=lengths.dtype)
    ones = [1] * lengths.ndim
    ones[time_axis] = steps
    return lengths, times.reshape(ones)
