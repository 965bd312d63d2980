"""Training forward in time, with what is needed to run it backward."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from gradstab.reversible._descent import Descent
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._momentum_step import Moving, at_rest, step, velocity_of
from gradstab.reversible._rates import Rates, rates
from gradstab.reversible._schedules import LEAST_MOMENTUM, MOST_MOMENTUM
from gradstab.reversible._tape import Tape, blank, make_room


class Faults(NamedTuple):
    """Where a run went wrong first, for each array of parameters.

    Attributes:
        not_finite: the first step whose gradient was NaN or infinite; the number of
            steps if there was none.
        too_large: the first step after which a number could not be held; -1 if an
            initial parameter could not.
        momentum: whether a momentum is out of range.
    """

    not_finite: Int[Array, " arrays"]
    too_large: Int[Array, " arrays"]
    momentum: Bool[Array, " arrays"]


class Recording(NamedTuple):
    """The end of a run.

    Attributes:
        states: of the arrays of parameters.
        tapes: theirs.
        faults: of the run.
    """

    states: list[Moving]
    tapes: list[Tape]
    faults: Faults


class Visit(NamedTuple):
    """What the chain rule needs of one step, for each array of parameters.

    Attributes:
        position: x_t, as the loss takes it.
        before: v_t.
        after: v_{t+1}.
        gradient: g_t.
    """

    position: list[Array]
    before: list[Array]
    after: list[Array]
    gradient: list[Array]


@functools.partial(jax.jit, static_argnums=(0, 2))
def start(
    descent: Descent, inputs: Inputs, slots: tuple[int, ...] | None = None
) -> Recording:
    """A run before its first step.

    Args:
        descent: what is descended.
        inputs: of the run.
        slots: how much room the tape of each array has; None for a run that nothing
            goes back.

    Returns:
        The run.
    """
    states, tapes, is_held = [], [], []
    slots = slots or (0,) * len(inputs.params)
    for fixed, x, room in zip(descent.formats, inputs.params, slots, strict=True):
        states.append(at_rest(fixed, x))
        tapes.append(blank(fixed, x.shape, room))
        is_held.append(jnp.all(fixed.holds(x)))
    in_range = [
        jnp.all((beta >= LEAST_MOMENTUM) & (beta <= MOST_MOMENTUM))
        for beta in inputs.momenta
    ]
    never = jnp.full(len(states), descent.steps, jnp.int32)
    faults = Faults(
        not_finite=never,
        too_large=jnp.where(jnp.stack(is_held), never, -1),
        momentum=~jnp.stack(in_range),
    )
    return Recording(states, tapes, faults)


@functools.partial(jax.jit, static_argnums=0)
def run_forward(descent: Descent, inputs: Inputs) -> Recording:
    """Takes all steps of a run that nothing goes back.

    Args:
        descent: what is descended.
        inputs: of the run.

    Returns:
        The end of the run.
    """
    inputs = inputs.as_unknown()
    now = rates(descent.formats, inputs.step_sizes, inputs.momenta)
    steps = jnp.arange(descent.steps, dtype=jnp.int32)
    return forward(descent, start(descent, inputs), now, inputs.theta, steps)


def forward(
    descent: Descent,
    recording: Recording,
    rates: Sequence[Rates],
    theta: list[Array],
    steps: Int[Array, " steps"],
) -> Recording:
    """Takes some steps.

    Args:
        descent: what is descended.
        recording: before these steps.
        rates: of each array of parameters, for these steps.
        theta: the hyperparameters.
        steps: the numbers of the steps.

    Returns:
        The run after these steps.
    """

    def body(recording: Recording, inputs):
        t, now = inputs
        return advance(descent, recording, now, theta, t)[0], None

    return jax.lax.scan(body, recording, (steps, list(rates)))[0]


def advance(
    descent: Descent,
    recording: Recording,
    rates: Sequence[Rates],
    theta: list[Array],
    t: Int[Array, ""],
) -> tuple[Recording, Visit]:
    """Takes one step.

    Args:
        descent: what is descended.
        recording: before the step.
        rates: of each array of parameters, for this step.
        theta: the hyperparameters.
        t: the number of the step.

    Returns:
        The run after the step, and what the chain rule needs of it.
    """
    x = descent.to_loss([state.position for state in recording.states])
    return move(descent, recording, rates, x, descent.gradient(x, theta, t), t)


def move(
    descent: Descent,
    recording: Recording,
    rates: Sequence[Rates],
    x: list[Array],
    gradients: list[Array],
    t: Int[Array, ""],
) -> tuple[Recording, Visit]:
    """Takes one step, of which the gradient is known.

    Args:
        descent: what is descended.
        recording: before the step.
        rates: of each array of parameters, for this step.
        x: the parameters as the loss takes them.
        gradients: there.
        t: the number of the step.

    Returns:
        The run after the step, and what the chain rule needs of it.
    """
    visit = Visit(x, [], [], gradients)
    states, tapes, is_finite, is_held = [], [], [], []
    for fixed, state, tape, gradient, rate in zip(
        descent.formats,
        recording.states,
        recording.tapes,
        gradients,
        rates,
        strict=True,
    ):
        tape, buffer = make_room(fixed, tape, state.buffer, rate.is_full)
        moved, held = step(fixed, state._replace(buffer=buffer), gradient, rate)
        visit.before.append(velocity_of(fixed, state, rate))
        visit.after.append(velocity_of(fixed, moved, rate))
        states.append(moved)
        tapes.append(tape)
        is_finite.append(jnp.all(jnp.isfinite(gradient)))
        is_held.append(held)
    before = recording.faults
    faults = Faults(
        _first(before.not_finite, jnp.stack(is_finite), t, descent.steps),
        _first(before.too_large, jnp.stack(is_held), t, descent.steps),
        before.momentum,
    )
    return Recording(states, tapes, faults), visit


def _first(first: Array, is_sound: Array, t: Array, never: int) -> Array:
    return jnp.where((first == never) & ~is_sound, t, first)
