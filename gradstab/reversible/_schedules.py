"""Step sizes and momenta over the steps of a training run."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from gradstab.reversible._fixed_point import FixedPoint

LEAST_MOMENTUM = 2.0**-7
MOST_MOMENTUM = 1 - 2.0**-16


class Schedules(NamedTuple):
    """The rates of every step, for all parameters or for groups of them.

    Each is a number, an array with an entry for each step, or a tree of these that has
    the structure of the parameters or of its upper part: `{"hidden": a, "out": b}`
    gives all that stands under `hidden` the rates `a`. A Flax module counts as the
    dictionary that `nnx.to_pure_dict(nnx.state(module, nnx.Param))` is.

    Attributes:
        step_size: α_t, finite.
        momentum: β_t, between 2**-7 and 1 - 2**-16. The fraction next to it is used,
            see `ExactRational.nearest`.
    """

    step_size: Any
    momentum: Any


def as_schedules(schedules: Any) -> Schedules:
    """Schedules, from a pair too.

    Args:
        schedules: what a user gave.

    Returns:
        The schedules.

    Raises:
        ValueError: if it is no pair.
    """
    if not isinstance(schedules, tuple) or len(schedules) != 2:
        raise ValueError(
            "`schedules` must be Schedules(step_size, momentum), got "
            f"{type(schedules).__name__}."
        )
    return Schedules(*schedules)


def differentiable(schedules: Schedules) -> Schedules:
    """Schedules with floating-point leaves.

    Args:
        schedules: what a user gave.

    Returns:
        The schedules, integers converted.

    Raises:
        ValueError: if a leaf is no real number, nor an array of them.
    """

    def floating(path: Any, leaf: Any) -> Any:
        kind, *inner = path
        _check_real(kind.name + jax.tree_util.keystr(tuple(inner)), leaf)
        is_floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return leaf if is_floating else jnp.asarray(leaf, jnp.result_type(float))

    return jax.tree_util.tree_map_with_path(floating, schedules)


def spread(
    name: str, schedule: Any, params: Any, formats: list[FixedPoint], steps: int
) -> list[Array]:
    """Gives each array of parameters its own schedule.

    Args:
        name: of the schedule.
        schedule: its values.
        params: the parameters.
        formats: how their arrays are held.
        steps: how many steps there are.

    Returns:
        An array with an entry for each step, for each array of parameters.

    Raises:
        ValueError: if the structure or a shape does not fit, or a known value lies
            outside the range.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(schedule):
        where = name + jax.tree_util.keystr(path)
        _check_real(where, leaf)
        if jnp.shape(leaf) not in {(), (steps,)}:
            raise ValueError(
                f"`{where}` must be a number or have shape (steps,) = ({steps},), "
                f"got {jnp.shape(leaf)}."
            )
        if not isinstance(leaf, Tracer):
            check_rates(name, where, np.asarray(leaf))
    try:
        for_each = jax.tree.leaves(jax.tree.broadcast(schedule, params))
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be a number, an array, or a tree of these with the "
            f"structure of the parameters or its upper part: {error}"
        ) from None
    return [
        jnp.broadcast_to(jnp.asarray(leaf, fixed.real), (steps,))
        for leaf, fixed in zip(for_each, formats, strict=True)
    ]


def _check_real(where: str, leaf: Any) -> None:
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    if not any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer)):
        raise ValueError(
            f"`{where}` must be a number or an array of real numbers, got "
            f"{type(leaf).__name__}."
        )


def check_rates(name: str, where: str, values: np.ndarray) -> None:
    """Checks known step sizes or momenta.

    Args:
        name: `step_size` or `momentum`.
        where: how the message names them.
        values: theirs.

    Raises:
        ValueError: if one is out of range; the message has its step.
    """
    values = values.astype(np.float64)
    if name == "momentum":
        sound = (values >= LEAST_MOMENTUM) & (values <= MOST_MOMENTUM)
        wanted = f"lie in [2**-7, 1 - 2**-16] = [{LEAST_MOMENTUM}, {MOST_MOMENTUM}]"
    else:
        sound, wanted = np.isfinite(values), "be finite"
    if not np.all(sound):
        step = int(np.argmin(sound)) if values.ndim else 0
        raise ValueError(
            f"`{where}` must {wanted}, got {values.reshape(-1)[step]} at step {step}."
        )
