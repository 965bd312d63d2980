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
from gradstab.reversible._forward import Recording, start
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._rates import rates
from gradstab.reversible._walk import walk


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
    ) -> tuple[Recording, Recording]:
        """Trains, and keeps no more than the end with its tape.

        Args:
            descent: what is descended.
            inputs: of the run.
            moves: which of the hyperparameters are differentiated.

        Returns:
            The end of the run, twice.

        Raises:
            ValueError: if a momentum is out of range, or traced without
                `least_momentum`.
        """
        slots = self.slots
        if slots is None:
            slots = self._slots(descent, inputs.momenta)
        begin = start(descent, inputs, slots)
        idle = arrive(
            descent, [jnp.zeros_like(x) for x in inputs.params], inputs.theta, moves
        )
        end = walk(descent, moves, inputs, begin, idle, jnp.asarray(True))[0]
        return end, end

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
                "`jax.jit`: it says how long the tape may become."
            )
        with jax.ensure_compile_time_eval():
            constant = [
                jnp.full(descent.steps, self.least_momentum, fixed.real)
                for fixed in descent.formats
            ]
            needed = slots_for(descent.formats, constant)
        # Fractions of other denominators may need a little more.
        return tuple(count + count // 50 + 2 for count in needed)


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


@functools.partial(jax.jit, static_argnums=0)
def _moves(formats: tuple[FixedPoint, ...], momenta: list[Array]) -> list[Array]:
    idle = [jnp.zeros_like(momentum) for momentum in momenta]
    return [rate.is_full.sum() for rate in rates(formats, idle, momenta)]


@functools.partial(jax.jit, static_argnums=0)
def _is_start(descent: Descent, found: Recording, inputs: Inputs) -> Bool[Array, ""]:
    """Whether a run backward came to where the run forward had begun, bit for bit."""
    first = start(descent, inputs)
    pairs = zip(
        jax.tree.leaves(found.states), jax.tree.leaves(first.states), strict=True
    )
    are_equal = [jnp.all(mine == its) for mine, its in pairs]
    are_empty = [tape.used == 0 for tape in found.tapes]
    return jnp.all(jnp.stack(are_equal + are_empty))
