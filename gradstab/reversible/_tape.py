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
            at every step, and kept when the tape advances: no branch in the loop, for
            what goes through a branch is copied.
        used: how many slots hold something.
    """

    slots: UInt[Array, "slots ..."]
    used: Int[Array, ""]


def blank(fixed: FixedPoint, x: Array, slots: int) -> Tape:
    """A tape with room for a number of moves, one more slot than that.

    Args:
        fixed: how numbers are held.
        x: the parameters.
        slots: the number.

    Returns:
        The tape.
    """
    slot = jnp.zeros_like(x, dtype=fixed.taped)
    # Spread, not filled: sharded as the parameters are.
    spread = jnp.broadcast_to(slot[None], (slots + 1, *x.shape))
    return Tape(spread, jnp.zeros((), jnp.int32))


def latest(tape: Tape, is_full: Bool[Array, ""]) -> UInt[Array, "..."]:
    """What was moved last.

    Args:
        tape: after a step.
        is_full: whether anything had moved in it; if not, what is returned is idle.

    Returns:
        The slot.
    """
    used = tape.used - is_full.astype(jnp.int32)
    return jax.lax.dynamic_index_in_dim(tape.slots, used, 0, keepdims=False)


def wound(
    tape: Tape,
    slot: UInt[Array, "..."],
    is_full: Bool[Array, ""],
    is_forward: Bool[Array, ""],
) -> Tape:
    """Moves the tape by a step.

    Args:
        tape: before the step; after it if time runs backward.
        slot: what is moved; backward, what `latest` was.
        is_full: whether anything moves.
        is_forward: the direction of time.

    Returns:
        The tape after the step; before it if time runs backward.
    """
    moved = is_full.astype(jnp.int32)
    place = tape.used - jnp.where(is_forward, 0, moved)
    slots = jax.lax.dynamic_update_index_in_dim(tape.slots, slot, place, 0)
    return Tape(slots, tape.used + jnp.where(is_forward, moved, -moved))


def make_room(
    fixed: FixedPoint, buffer: UInt[Array, "..."], is_full: Bool[Array, ""]
) -> tuple[UInt[Array, "..."], UInt[Array, "..."]]:
    """Takes the lowest quarter of all bits from buffers, if they are full.

    Args:
        fixed: how numbers are held.
        buffer: before.
        is_full: whether anything moves.

    Returns:
        Those bits, and the buffer afterwards.
    """
    lowest = buffer.astype(fixed.taped)
    return lowest, jnp.where(is_full, buffer >> _quarter(fixed), buffer)


def take_back(
    fixed: FixedPoint,
    buffer: UInt[Array, "..."],
    lowest: UInt[Array, "..."],
    is_full: Bool[Array, ""],
) -> UInt[Array, "..."]:
    """Undoes `make_room`.

    Args:
        fixed: how numbers are held.
        buffer: after.
        lowest: the bits.
        is_full: whether anything had moved.

    Returns:
        The buffer before.
    """
    joined = (buffer << _quarter(fixed)) | lowest.astype(fixed.unsigned)
    return jnp.where(is_full, joined, buffer)


def _quarter(fixed: FixedPoint) -> int:
    return jnp.iinfo(fixed.taped).bits
