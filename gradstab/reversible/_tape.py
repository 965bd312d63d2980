"""The tape that full buffers move their lowest bits to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt

from gradstab.reversible._fixed_point import FixedPoint


class Tape(NamedTuple):
    """The tape of one array of parameters.

    Attributes:
        slots: what was moved, in the order of time. The slot after the last is written
            at every step, and kept when the tape advances: no branch in the loop.
        used: how many slots hold something.
    """

    slots: UInt[Array, "slots ..."]
    used: Int[Array, ""]


def blank(fixed: FixedPoint, shape: tuple[int, ...], slots: int) -> Tape:
    """A tape with room for a number of moves, one more slot than that."""
    return Tape(jnp.zeros((slots + 1, *shape), fixed.taped), jnp.zeros((), jnp.int32))


def make_room(
    fixed: FixedPoint, tape: Tape, buffer: UInt[Array, "..."], is_full: Bool[Array, ""]
) -> tuple[Tape, UInt[Array, "..."]]:
    """Moves the lowest quarter of all buffers' bits to the tape, if they are full.

    Args:
        fixed: how numbers are held.
        tape: before.
        buffer: before.
        is_full: whether anything moves.

    Returns:
        The tape and the buffer afterwards.
    """
    lowest = buffer.astype(fixed.taped)
    slots = jax.lax.dynamic_update_index_in_dim(tape.slots, lowest, tape.used, 0)
    tape = Tape(slots, tape.used + is_full.astype(jnp.int32))
    return tape, jnp.where(is_full, buffer >> _quarter(fixed), buffer)


def take_back(
    fixed: FixedPoint, tape: Tape, buffer: UInt[Array, "..."], is_full: Bool[Array, ""]
) -> tuple[Tape, UInt[Array, "..."]]:
    """Undoes `make_room`.

    Args:
        fixed: how numbers are held.
        tape: after.
        buffer: after.
        is_full: whether anything had moved.

    Returns:
        The tape and the buffer before.
    """
    used = tape.used - is_full.astype(jnp.int32)
    lowest = jax.lax.dynamic_index_in_dim(tape.slots, used, 0, keepdims=False)
    joined = (buffer << _quarter(fixed)) | lowest.astype(fixed.unsigned)
    return Tape(tape.slots, used), jnp.where(is_full, joined, buffer)


def _quarter(fixed: FixedPoint) -> int:
    return jnp.iinfo(fixed.taped).bits
