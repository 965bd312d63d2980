"""All steps of a run in either direction of time, as one program.

Backward a gradient must have the bits that it had forward. Two programs round it in two
ways as soon as they contract other multiplications and additions, so there is one, with
the gradient in it once, that is told which way to go.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from gradstab.reversible._adjoint import Cotangents, RateCotangents, pull
from gradstab.reversible._descent import Descent
from gradstab.reversible._forward import Recording, Visit, move
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._momentum_step import (
    undo_position,
    undo_velocity,
    velocity_of,
)
from gradstab.reversible._rates import Rates, rates
from gradstab.reversible._tape import take_back


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
    # JAX 0.10 transposes under an explicit mesh of no axes, and compiles anew for it.
    with jax.sharding.use_abstract_mesh(jax.sharding.get_abstract_mesh()):
        return _walk(descent, moves, inputs, recording, cotangents, is_forward)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _walk(
    descent: Descent,
    moves: tuple[bool, ...],
    inputs: Inputs,
    recording: Recording,
    cotangents: Cotangents,
    is_forward: Bool[Array, ""],
) -> tuple[Recording, Cotangents, list[RateCotangents]]:
    # A direction that the compiler knows would leave it with two programs again.
    is_forward = jax.lax.optimization_barrier(is_forward)
    inputs = inputs.as_unknown()
    theta = inputs.theta
    steps = jnp.arange(descent.steps, dtype=jnp.int32)
    order = jnp.where(is_forward, steps, steps[::-1])

    def body(carry, step):
        recording, cotangents = carry
        t, now = step
        here, after = _stand(descent, recording, now, is_forward)
        x = descent.to_loss([state.position for state in here.states])
        gradients = descent.gradient(x, theta, t)

        def onward(here, cotangents):
            there, _ = move(descent, here, now, x, gradients, t)
            idle = [
                RateCotangents(jnp.zeros_like(r.step_size), jnp.zeros_like(r.momentum))
                for r in now
            ]
            return (there, cotangents), idle

        def back(here, cotangents):
            there, before = _take_back(descent, here, now, gradients)
            visit = Visit(x, before, after, gradients)
            there_too, of_rates = pull(descent, cotangents, visit, now, theta, moves, t)
            return (there, there_too), of_rates

        return jax.lax.cond(is_forward, onward, back, here, cotangents)

    now = rates(descent.formats, inputs.step_sizes, inputs.momenta)
    now = jax.tree.map(lambda x: x[order], now)
    (recording, cotangents), of_rates = jax.lax.scan(
        body, (recording, cotangents), (order, now)
    )
    return recording, cotangents, jax.tree.map(lambda x: x[::-1], of_rates)


def _stand(
    descent: Descent,
    recording: Recording,
    rates: Sequence[Rates],
    is_forward: Bool[Array, ""],
) -> tuple[Recording, list[Array]]:
    """The run where the gradient is taken, and the velocities if it is taken back."""
    states, velocities = [], []
    for fixed, state, rate in zip(
        descent.formats, recording.states, rates, strict=True
    ):
        undone, velocity = undo_position(fixed, state, rate)
        position = jnp.where(is_forward, state.position, undone.position)
        states.append(state._replace(position=position))
        velocities.append(velocity)
    return recording._replace(states=states), velocities


def _take_back(
    descent: Descent,
    recording: Recording,
    rates: Sequence[Rates],
    gradients: Sequence[Array],
) -> tuple[Recording, list[Array]]:
    """Undoes what `move` does after the gradient but for the position.

    Args:
        descent: what was descended.
        recording: after the step, the positions before it.
        rates: of each array of parameters, for this step.
        gradients: at the positions.

    Returns:
        The run before the step, and the velocities there.
    """
    states, tapes, velocities = [], [], []
    for fixed, state, tape, gradient, rate in zip(
        descent.formats,
        recording.states,
        recording.tapes,
        gradients,
        rates,
        strict=True,
    ):
        state = undo_velocity(fixed, state, gradient, rate)
        tape, buffer = take_back(fixed, tape, state.buffer, rate.is_full)
        velocities.append(velocity_of(fixed, state, rate))
        states.append(state._replace(buffer=buffer))
        tapes.append(tape)
    return Recording(states, tapes, recording.faults), velocities
