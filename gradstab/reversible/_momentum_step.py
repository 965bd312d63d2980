r"""One step of gradient descent with momentum in fixed point, forth and back.

.. math:: v_{t+1} = \beta_t v_t - (1 - \beta_t) g_t, \qquad
    x_{t+1} = x_t + \alpha_t v_{t+1}

Maclaurin, Duvenaud & Adams (2015), algorithms 1 and 2; x moves by the new velocity, as
in their code.
"""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt

from gradstab.reversible._fixed_point import FixedPoint
from gradstab.reversible._rates import Rates


class Moving(NamedTuple):
    """One array of parameters on its way.

    Attributes:
        position: the parameters x.
        velocity: v, times a power of two that depends on the rates.
        buffer: what products by the momentum have forgotten and the tape has not.
    """

    position: Int[Array, "..."]
    velocity: Int[Array, "..."]
    buffer: UInt[Array, "..."]


def at_rest(fixed: FixedPoint, x: Float[Array, "..."]) -> Moving:
    """Parameters before their first step."""
    return Moving(
        position=fixed.quantize(x),
        velocity=jnp.zeros_like(x, dtype=fixed.signed),
        buffer=jnp.zeros_like(x, dtype=fixed.unsigned),
    )


def step(
    fixed: FixedPoint, state: Moving, gradient: Float[Array, "..."], rates: Rates
) -> tuple[Moving, Bool[Array, ""]]:
    """Takes one step.

    Args:
        fixed: how numbers are held.
        state: before the step, its buffer with room for the product.
        gradient: g at the position.
        rates: of this step.

    Returns:
        The state after the step, and whether all of it could be held.
    """
    kept, buffer = rates.fraction.multiply(state.velocity, state.buffer)
    impulse = _impulse(fixed, gradient, rates)
    # Fenced off, or the compiler would multiply once more to see whether it holds.
    velocity = jax.lax.optimization_barrier(kept - fixed.quantize(impulse))
    moved = _displacement(fixed, velocity, rates)
    position = state.position + fixed.quantize(moved)
    converted = (
        impulse,
        rates.momentum * fixed.to_float(state.velocity) - impulse,
        moved,
        fixed.to_float(state.position) + moved,
    )
    is_held = functools.reduce(operator.and_, map(fixed.holds, converted))
    return Moving(position, velocity, buffer), jnp.all(is_held)


def undo_position(fixed: FixedPoint, state: Moving, rates: Rates) -> Moving:
    """Takes the position back by one step, where the gradient can be found again.

    Args:
        fixed: how numbers are held.
        state: after the step.
        rates: of this step.

    Returns:
        The state with the position before the step.
    """
    moved = _displacement(fixed, state.velocity, rates)
    return state._replace(position=state.position - fixed.quantize(moved))


def undo_velocity(
    fixed: FixedPoint, state: Moving, gradient: Float[Array, "..."], rates: Rates
) -> Moving:
    """Takes velocity and buffer back by one step.

    Args:
        fixed: how numbers are held.
        state: as `undo_position` gives it.
        gradient: g at its position.
        rates: of this step.

    Returns:
        The state before the step.
    """
    kept = state.velocity + fixed.quantize(_impulse(fixed, gradient, rates))
    velocity, buffer = rates.fraction.divide(kept, state.buffer)
    return state._replace(velocity=velocity, buffer=buffer)


def _impulse(fixed: FixedPoint, gradient: Array, rates: Rates) -> Array:
    return (1 - rates.momentum) * rates.scale * gradient.astype(fixed.real)


def _displacement(fixed: FixedPoint, velocity: Array, rates: Rates) -> Array:
    return rates.step_size / rates.scale * fixed.to_float(velocity)


def velocity_of(fixed: FixedPoint, state: Moving, rates: Rates) -> Float[Array, "..."]:
    """The velocity v as a floating-point number."""
    return fixed.to_float(state.velocity) / rates.scale
