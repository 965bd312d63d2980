"""The way back through a training run that was not stored: its exact reversal."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool

from gradstab.reversible._adjoint import Cotangents, RateCotangents, arrive
from gradstab.reversible._descent import Descent
from gradstab.reversible._fixed_point import FixedPoint
from gradstab.reversible._forward import Run, start
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._rates import most_moves, rates
from gradstab.reversible._tape import blank
from gradstab.reversible._walk import Recording, walk


@dataclasses.dataclass(frozen=True)
class Reversal:
    """Keeps a tape of what products forget, and takes each step back.

    Attributes:
        slots: how much room the tape of each array has; None if that is not known
            before the run.
        least_momentum: for which the tapes have room if it is not known then either.
    """

    slots: tuple[int, ...] | None = None
    least_momentum: float | None = None

    def record(
        self, descent: Descent, inputs: Inputs, moves: tuple[bool, ...]
    ) -> tuple[Run, Recording]:
        """Trains, and keeps no more than the end with its tape.

        Args:
            descent: what is descended.
            inputs: of the run.
            moves: which of the hyperparameters are differentiated.

        Returns:
            The end of the run, without the tape and with it.

        Raises:
            ValueError: if a momentum is out of range, or traced without
                `least_momentum`.
        """
        slots = self.slots
        if slots is None:
            slots = self._slots(descent, inputs.momenta)
        begin = _departure(descent, slots, inputs)
        idle = arrive(
            descent, [jnp.zeros_like(x) for x in inputs.params], inputs.theta, moves
        )
        end, *_ = walk(descent, moves, inputs, begin, idle, jnp.asarray(True))
        used = jnp.stack([tape.used for tape in end.tapes])
        faults = end.run.faults._replace(tape=used > jnp.asarray(slots, jnp.int32))
        return end.run._replace(faults=faults), end

    def replay(
        self,
        descent: Descent,
        inputs: Inputs,
        stored: Recording,
        cotangents: list[Array],
        moves: tuple[bool, ...],
    ) -> tuple[Bool[Array, ""], Cotangents, list[RateCotangents]]:
        """Pulls cotangents back from the end of a run to its beginning.

        Args:
            descent: what was descended.
            inputs: of the run.
            stored: its end.
            cotangents: of the trained parameters.
            moves: which of the hyperparameters are differentiated.

        Returns:
            Whether the initial state was found again bit for bit, the cotangents there
            and those of all rates.
        """
        late = arrive(descent, cotangents, inputs.theta, moves)
        found, early, of_rates = walk(
            descent, moves, inputs, stored, late, jnp.asarray(False)
        )
        return _is_start(descent, found, inputs), early, of_rates

    def _slots(self, descent: Descent, momenta: Sequence[Array]) -> tuple[int, ...]:
        if not any(isinstance(momentum, Tracer) for momentum in momenta):
            return slots_for(descent.formats, momenta)
        if self.least_momentum is None:
            raise ValueError(
                "`least_momentum` is needed where momenta are traced, as under "
                "`jax.jit` or `jax.vmap`: it says how long the tape may become. "
                "Numbers and NumPy arrays stay known there."
            )
        return tuple(
            most_moves(fixed, self.least_momentum, descent.steps)
            for fixed in descent.formats
        )


def slots_for(
    formats: Sequence[FixedPoint], momenta: Sequence[Array]
) -> tuple[int, ...]:
    """How many slots the tape of each array needs.

    Args:
        formats: how the arrays are held.
        momenta: theirs, known.

    Returns:
        The numbers, rounded up: schedules that are learned change from run to run, and
        should not compile anew for it.
    """

    def rounded(count: int) -> int:
        step = max(8, 2 ** (count.bit_length() - 4))
        return -(-count // step) * step

    counts = _moves(tuple(formats), list(momenta))
    return tuple(rounded(int(count)) for count in counts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _departure(descent: Descent, slots: tuple[int, ...], inputs: Inputs) -> Recording:
    """A run before its first step, with blank tapes."""
    each = zip(descent.formats, inputs.params, slots, strict=True)
    tapes = [blank(fixed, x, room) for fixed, x, room in each]
    return Recording(start(descent, inputs), tapes)


@functools.partial(jax.jit, static_argnums=0)
def _moves(formats: tuple[FixedPoint, ...], momenta: list[Array]) -> list[Array]:
    idle = [jnp.zeros_like(momentum) for momentum in momenta]
    return [rate.is_full.sum() for rate in rates(formats, idle, momenta)]


@functools.partial(jax.jit, static_argnums=0)
def _is_start(descent: Descent, found: Recording, inputs: Inputs) -> Bool[Array, ""]:
    """Whether a run backward came to where the run forward had begun, bit for bit."""
    first = start(descent, inputs)
    pairs = zip(
        jax.tree.leaves(found.run.states), jax.tree.leaves(first.states), strict=True
    )
    are_equal = [jnp.all(mine == its) for mine, its in pairs]
    are_empty = [tape.used == 0 for tape in found.tapes]
    return jnp.all(jnp.stack(are_equal + are_empty))
