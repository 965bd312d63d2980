"""The way back through a training run of which some states are stored."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from gradstab.reversible._adjoint import Cotangents, RateCotangents, arrive, pull
from gradstab.reversible._descent import Descent
from gradstab.reversible._forward import Run, advance, forward, start
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._rates import Rates, rates


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """Stores the state every so many steps, and repeats the steps in between.

    The fallback for devices that do not compute a gradient twice alike: what differs
    then is rounding, where reversal would lose its way.

    Attributes:
        every: how many steps there are from one stored state to the next.
    """

    every: int

    def record(
        self, descent: Descent, inputs: Inputs, moves: tuple[bool, ...]
    ) -> tuple[Run, list[Run]]:
        """Trains, and keeps the states that each stretch starts from.

        Args:
            descent: what is descended.
            inputs: of the run.
            moves: which of the hyperparameters are differentiated: all the same here.

        Returns:
            The end of the run, and the stored states.
        """
        del moves
        return _record(descent, self.every, inputs)

    def replay(
        self,
        descent: Descent,
        inputs: Inputs,
        stored: list[Run],
        cotangents: list[Array],
        moves: tuple[bool, ...],
    ) -> tuple[Bool[Array, ""], Cotangents, list[RateCotangents]]:
        """Pulls cotangents back from the end of a run to its beginning.

        Args:
            descent: what was descended.
            inputs: of the run.
            stored: states of it.
            cotangents: of the trained parameters.
            moves: which of the hyperparameters are differentiated.

        Returns:
            True, the cotangents at the beginning and those of all rates.
        """
        early, of_rates = _replay(
            descent, self.every, moves, inputs, stored, cotangents
        )
        return jnp.ones((), bool), early, of_rates


# A first stretch takes the steps that are left over, and the others are equally long.
Stretches = list[tuple[Array, list[Rates]]]


def _stretches(descent: Descent, every: int, inputs: Inputs) -> Stretches:
    """Numbers and rates of the steps, with axes (stretch, step)."""
    now = rates(descent.formats, inputs.step_sizes, inputs.momenta)
    steps = jnp.arange(descent.steps, dtype=jnp.int32)
    over = descent.steps % every
    first = jax.tree.map(lambda x: x[None, :over], (steps, now))
    others = jax.tree.map(lambda x: x[over:].reshape(-1, every), (steps, now))
    return [part for part in (first, others) if part[0].size]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _record(descent: Descent, every: int, inputs: Inputs) -> tuple[Run, list[Run]]:
    inputs = inputs.as_unknown()
    run = start(descent, inputs)
    stored = []

    def stretch(run: Run, part):
        steps, now = part
        return forward(descent, run, now, inputs.theta, steps), run

    for part in _stretches(descent, every, inputs):
        run, starts = jax.lax.scan(stretch, run, part)
        stored.append(starts)
    return run, stored


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _replay(
    descent: Descent,
    every: int,
    moves: tuple[bool, ...],
    inputs: Inputs,
    stored: list[Run],
    cotangents: list[Array],
) -> tuple[Cotangents, list[RateCotangents]]:
    inputs = inputs.as_unknown()
    theta = inputs.theta

    def repeat(run: Run, step):
        t, now = step
        return advance(descent, run, now, theta, t)

    def back(cotangents: Cotangents, step):
        (t, now), visit = step
        return pull(descent, cotangents, visit, now, theta, moves, t)

    def stretch(cotangents: Cotangents, part):
        steps, run = part
        visits = jax.lax.scan(repeat, run, steps)[1]
        return jax.lax.scan(back, cotangents, (steps, visits), reverse=True)

    now = arrive(descent, cotangents, theta, moves)
    found = []
    parts = list(zip(_stretches(descent, every, inputs), stored, strict=True))
    for part in reversed(parts):
        now, of_rates = jax.lax.scan(stretch, now, part, reverse=True)
        found.append(jax.tree.map(lambda x: x.reshape(-1), of_rates))
    of_rates = jax.tree.map(lambda *x: jnp.concatenate(x), *reversed(found))
    return now, of_rates
