"""All steps of a run in either direction of time, as one program.

Backward a gradient must have the bits that it had forward. Two programs round it in two
ways as soon as they contract other multiplications and additions, so there is one, with
the gradient in it once, that is told which way to go.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt

from gradstab.reversible._adjoint import Cotangents, RateCotangents, pull
from gradstab.reversible._descent import Descent
from gradstab.reversible._forward import Run, Visit, move, velocities
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._momentum_step import Moving, undo_position, undo_velocity
from gradstab.reversible._rates import Rates, rates
from gradstab.reversible._tape import Tape, latest, take_back, wound


class Recording(NamedTuple):
    """A run with what is needed to take it back.

    Attributes:
        run: at some step.
        tapes: of the arrays of parameters.
    """

    run: Run
    tapes: list[Tape]


@functools.partial(jax.jit, static_argnums=(0, 1))
def walk(
    descent: Descent,
    moves: tuple[bool, ...],
    inputs: Inputs,
    recording: Recording,
    cotangents: Cotangents,
    is_forward: Bool[Array, ""],
) -> tuple[Recording, Cotangents, list[RateCotangents]]:
    """Takes all steps of a run, or takes them back.

    Costs a gradient a step forward, three backward. In eager mode both directions are
    one executable; under `jax.jit` they are two, of the same operations.

    Args:
        descent: what is descended.
        moves: which of the hyperparameters are differentiated.
        inputs: of the run.
        recording: where it begins; its end if it is taken back.
        cotangents: there; forward they stay what they are.
        is_forward: the direction of time.

    Returns:
        The run at its other end, the cotangents there, and backward those of all rates.
    """
    # A direction that the compiler knows would leave it with two programs again, and
    # so would the number of the step where there is one alone.
    steps = jnp.arange(descent.steps, dtype=jnp.int32)
    is_forward, steps = jax.lax.optimization_barrier((is_forward, steps))
    inputs = inputs.as_unknown()
    theta = inputs.theta
    order = jnp.where(is_forward, steps, steps[::-1])

    def body(carry, step):
        (run, tapes), cotangents = carry
        t, now = step
        after = velocities(descent, run.states, now)
        run = run._replace(states=_stand(descent, run.states, now, is_forward))
        x = descent.to_loss([state.position for state in run.states])
        gradients = descent.gradient(x, theta, t)
        slots = [latest(tape, r.is_full) for tape, r in zip(tapes, now, strict=True)]

        def onward(run, slots):
            del slots
            return move(descent, run, now, gradients, t)

        def back(run, slots):
            states = _take_back(descent, run.states, slots, now, gradients)
            return run._replace(states=states), slots

        run, slots = jax.lax.cond(is_forward, onward, back, run, slots)
        tapes = [
            wound(tape, slot, r.is_full, is_forward)
            for tape, slot, r in zip(tapes, slots, now, strict=True)
        ]
        visit = Visit(x, velocities(descent, run.states, now), after, gradients)

        cotangents, of_rates = _pull_backward(
            descent, is_forward, cotangents, (visit, now, theta, t), moves
        )
        return (Recording(run, tapes), cotangents), of_rates

    now = rates(descent.formats, inputs.step_sizes, inputs.momenta)
    now = jax.tree.map(lambda x: x[order], now)
    (recording, cotangents), of_rates = jax.lax.scan(
        body, (recording, cotangents), (order, now)
    )
    return recording, cotangents, jax.tree.map(lambda x: x[::-1], of_rates)


def _stand(
    descent: Descent,
    states: Sequence[Moving],
    rates: Sequence[Rates],
    is_forward: Bool[Array, ""],
) -> list[Moving]:
    """The states where the gradient is taken: backward, positions are taken back."""
    found = []
    for fixed, state, rate in zip(descent.formats, states, rates, strict=True):
        undone = undo_position(fixed, state, rate)
        position = jnp.where(is_forward, state.position, undone.position)
        found.append(state._replace(position=position))
    return found


def _pull_backward(
    descent: Descent,
    is_forward: Bool[Array, ""],
    cotangents: Cotangents,
    step: tuple[Visit, list[Rates], list[Array], Int[Array, ""]],
    moves: tuple[bool, ...],
) -> tuple[Cotangents, list[RateCotangents]]:
    """Takes cotangents back by one step if time runs backward.

    Args:
        descent: what was descended.
        is_forward: the direction of time.
        cotangents: after the step.
        step: what is known of it, its rates, the hyperparameters and its number.
        moves: which of the hyperparameters are differentiated.

    Returns:
        The cotangents before the step, and those of its rates, 0 if time runs forward.
    """

    def once(trip, carry):
        # Tied to the trip, or what depends on the step alone would be computed before
        # the loop, forward too.
        (visit, now, theta, t), _ = jax.lax.optimization_barrier((step, trip))
        return pull(descent, carry[0], visit, now, theta, moves, t)

    idle = [
        RateCotangents(jnp.zeros_like(rate.step_size), jnp.zeros_like(rate.momentum))
        for rate in step[1]
    ]
    # A condition would copy, forward, what it leaves as it is.
    trips = jnp.where(is_forward, 0, 1)
    return jax.lax.fori_loop(0, trips, once, (cotangents, idle))


def _take_back(
    descent: Descent,
    states: Sequence[Moving],
    slots: Sequence[UInt[Array, "..."]],
    rates: Sequence[Rates],
    gradients: Sequence[Array],
) -> list[Moving]:
    """Undoes what `move` does, but for positions.

    Args:
        descent: what was descended.
        states: after the step, with positions before it.
        slots: what had left the buffers.
        rates: of each array of parameters, for this step.
        gradients: of each.

    Returns:
        The states before the step.
    """
    found = []
    for fixed, state, slot, gradient, rate in zip(
        descent.formats, states, slots, gradients, rates, strict=True
    ):
        state = undo_velocity(fixed, state, gradient, rate)
        buffer = take_back(fixed, state.buffer, slot, rate.is_full)
        found.append(state._replace(buffer=buffer))
    return found
