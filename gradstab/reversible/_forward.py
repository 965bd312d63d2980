"""Training forward in time."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt

from gradstab.reversible._descent import Descent
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._momentum_step import Moving, at_rest, step, velocity_of
from gradstab.reversible._rates import Rates, rates
from gradstab.reversible._schedules import LEAST_MOMENTUM, MOST_MOMENTUM
from gradstab.reversible._tape import make_room


class Faults(NamedTuple):
    """Where a run went wrong first, for each array of parameters.

    Attributes:
        not_finite: the first step whose gradient was NaN or infinite; the number of
            steps if there was none.
        too_large: the first step after which a number could not be held; -1 if an
            initial parameter could not.
        momentum: whether a momentum is out of range.
        tape: whether there was not enough room to run backward.
    """

    not_finite: Int[Array, " arrays"]
    too_large: Int[Array, " arrays"]
    momentum: Bool[Array, " arrays"]
    tape: Bool[Array, " arrays"]


class Run(NamedTuple):
    """A run at some step.

    Attributes:
        states: of the arrays of parameters.
        faults: of the run so far.
    """

    states: list[Moving]
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


@functools.partial(jax.jit, static_argnums=0)
def start(descent: Descent, inputs: Inputs) -> Run:
    """A run before its first step.

    Args:
        descent: what is descended.
        inputs: of the run.

    Returns:
        The run.
    """
    pairs = list(zip(descent.formats, inputs.params, strict=True))
    states = [at_rest(fixed, x) for fixed, x in pairs]
    is_held = [jnp.all(fixed.holds(x)) for fixed, x in pairs]
    in_range = [
        jnp.all((beta >= LEAST_MOMENTUM) & (beta <= MOST_MOMENTUM))
        for beta in inputs.momenta
    ]
    never = jnp.full(len(states), descent.steps, jnp.int32)
    faults = Faults(
        not_finite=never,
        too_large=jnp.where(jnp.stack(is_held), never, -1),
        momentum=~jnp.stack(in_range),
        tape=jnp.zeros(len(states), bool),
    )
    return Run(states, faults)


@functools.partial(jax.jit, static_argnums=0)
def run_forward(descent: Descent, inputs: Inputs) -> Run:
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
    run: Run,
    rates: Sequence[Rates],
    theta: list[Array],
    steps: Int[Array, " steps"],
) -> Run:
    """Takes some steps.

    Args:
        descent: what is descended.
        run: before these steps.
        rates: of each array of parameters, for these steps.
        theta: the hyperparameters.
        steps: the numbers of the steps.

    Returns:
        The run after these steps.
    """

    def body(run: Run, inputs):
        t, now = inputs
        return advance(descent, run, now, theta, t)[0], None

    return jax.lax.scan(body, run, (steps, list(rates)))[0]


def advance(
    descent: Descent,
    run: Run,
    rates: Sequence[Rates],
    theta: list[Array],
    t: Int[Array, ""],
) -> tuple[Run, Visit]:
    """Takes one step.

    Args:
        descent: what is descended.
        run: before the step.
        rates: of each array of parameters, for this step.
        theta: the hyperparameters.
        t: the number of the step.

    Returns:
        The run after the step, and what the chain rule needs of it.
    """
    x = descent.to_loss([state.position for state in run.states])
    gradients = descent.gradient(x, theta, t)
    after, _ = move(descent, run, rates, gradients, t)
    return after, Visit(
        position=x,
        before=velocities(descent, run.states, rates),
        after=velocities(descent, after.states, rates),
        gradient=gradients,
    )


def move(
    descent: Descent,
    run: Run,
    rates: Sequence[Rates],
    gradients: Sequence[Array],
    t: Int[Array, ""],
) -> tuple[Run, list[UInt[Array, "..."]]]:
    """Takes one step, of which the gradient is known.

    Args:
        descent: what is descended.
        run: before the step.
        rates: of each array of parameters, for this step.
        gradients: of each.
        t: the number of the step.

    Returns:
        The run after the step, and what left its buffers, for tapes.
    """
    states, lost, is_finite, is_held = [], [], [], []
    for fixed, state, gradient, rate in zip(
        descent.formats, run.states, gradients, rates, strict=True
    ):
        lowest, buffer = make_room(fixed, state.buffer, rate.is_full)
        moved, held = step(fixed, state._replace(buffer=buffer), gradient, rate)
        states.append(moved)
        lost.append(lowest)
        is_finite.append(jnp.all(jnp.isfinite(gradient)))
        is_held.append(held)
    before = run.faults
    faults = before._replace(
        not_finite=_first(before.not_finite, jnp.stack(is_finite), t, descent.steps),
        too_large=_first(before.too_large, jnp.stack(is_held), t, descent.steps),
    )
    return Run(states, faults), lost


def velocities(
    descent: Descent, states: Sequence[Moving], rates: Sequence[Rates]
) -> list[Array]:
    """The velocities of all arrays of parameters, as floating-point numbers."""
    each = zip(descent.formats, states, rates, strict=True)
    return [velocity_of(fixed, state, rate) for fixed, state, rate in each]


def _first(first: Array, is_sound: Array, t: Array, never: int) -> Array:
    return jnp.where((first == never) & ~is_sound, t, first)
