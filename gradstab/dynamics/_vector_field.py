"""What is asked of a vector field, a state and a box."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

State = Float[Array, " n"]
VectorField = Callable[[State], State]


def check_state(name: str, state: Any) -> State:
    """Checks that an argument is one state.

    Args:
        name: the argument, as the caller knows it.
        state: its value.

    Returns:
        It as an array.

    Raises:
        ValueError: if it is no finite vector of single or double precision.
    """
    state = jnp.asarray(state)
    if state.ndim != 1 or state.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"`{name}` must have shape (n,) and dtype float32 or float64, got "
            f"{state.shape} and {state.dtype.name}."
        )
    if not isinstance(state, Tracer) and not jnp.all(jnp.isfinite(state)):
        raise ValueError(f"`{name}` must be finite, got NaN or infinity.")
    return state


def check_field(field: VectorField, state: State) -> None:
    """Checks that an argument `field` maps a state to a velocity.

    Args:
        field: its value.
        state: a state, of which only shape and dtype matter.

    Raises:
        ValueError: if `field` cannot be called, or gives another shape or dtype.
    """
    if not callable(field):
        raise ValueError(f"`field` must be callable, got {field!r}.")
    velocity = jax.eval_shape(field, jax.ShapeDtypeStruct(state.shape, state.dtype))
    shape = getattr(velocity, "shape", None)
    kind = getattr(velocity, "dtype", None)
    if shape != state.shape or kind != state.dtype:
        raise ValueError(
            f"`field` must map shape {state.shape} and dtype {state.dtype.name} to the "
            f"same, got {shape} and {kind}."
        )


def check_box(box: ArrayLike, features: int | None = None) -> Float[np.ndarray, "n 2"]:
    """Checks that an argument `box` is an interval for each coordinate.

    Args:
        box: its value, rows (low, high).
        features: how many rows there must be; None for any number.

    Returns:
        It as an array.

    Raises:
        ValueError: if it is none, or an interval is empty or not finite.
    """
    found = np.asarray(box, np.float64)
    rows = "n" if features is None else features
    if found.ndim != 2 or found.shape != (features or max(len(found), 1), 2):
        raise ValueError(
            f"`box` must have shape ({rows}, 2), a row (low, high) for each "
            f"coordinate, got {found.shape}."
        )
    if not np.all(np.isfinite(found)) or not np.all(found[:, 0] < found[:, 1]):
        raise ValueError(f"`box` must have finite low < high, got {found.tolist()}.")
    return found
