"""A recurrence that was seen at work, as a pure step of one sequence."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool

from gradstab.diagnostics._gates import Gating, gating, spy_on_gates
from gradstab.diagnostics._probed_rnn import SEQUENCES, is_rnn
from gradstab.nn import RecurrentCell, materialize


@dataclasses.dataclass(frozen=True)
class Recurrence:
    """The first sequences that a cell has run over.

    Attributes:
        prepare: inputs of one sequence -> what `step` takes, time first.
        step: (carry, what it takes at one step) -> carry.
        carry: before the first step, leaves (sequences, ...).
        inputs: leaves (sequences, steps, ...).
        mask: which steps were taken, (sequences, steps); None for all.
        gating: what is known of its gates.
        gates: (carry, what `step` takes) -> each gate; None where they are not known.
    """

    prepare: Callable[[Any], Any]
    step: Callable[[Any, Any], Any]
    carry: Any
    inputs: Any
    mask: Bool[Array, "sequences steps"] | None
    gating: Gating | None
    gates: Callable[[Any, Any], dict[str, Array]] | None


def recurrence(cell: Any, seen: dict[str, Any]) -> Recurrence:
    """Makes a pure step of a cell and of what a call has left.

    Args:
        cell: any recurrent cell of Flax or of gradstab. Randomness that it holds, as in
            dropout, is that of the first step at every step.
        seen: see `run_probed`.

    Returns:
        The recurrence.
    """
    ours = isinstance(cell, RecurrentCell)
    graph, state = nnx.split(cell._built() if ours else materialize(cell))
    drawn = seen.get("drawn")

    def advance(cell: Any, carry: Any, here: Any) -> Any:
        return (cell.step if ours else cell)(carry, here)[0]

    def prepare(inputs: Any) -> Any:
        if not ours:
            return inputs
        projected = nnx.merge(graph, state, copy=True).project(inputs)
        return projected if drawn is None else (projected, drawn)

    def step(carry: Any, here: Any) -> Any:
        return advance(nnx.merge(graph, state, copy=True), carry, here)

    known = gating(cell)

    def gates(carry: Any, here: Any) -> dict[str, Array]:
        assert known is not None
        copy = nnx.merge(graph, state, copy=True)
        values = spy_on_gates(copy)
        advance(copy, carry, here)
        return dict(zip(known.names, values, strict=True))

    return Recurrence(
        prepare,
        step,
        seen["carry"],
        seen["inputs"],
        seen.get("mask"),
        known,
        None if known is None else gates,
    )


def recurrence_of(rnn: Any, inputs: Array, sequences: int = SEQUENCES) -> Recurrence:
    """Makes a pure step of a recurrent layer, from its own first carry.

    Args:
        rnn: an `nnx.RNN` or a `gradstab.nn.RNN`, to which gradients flow.
        inputs: (batch, time, ...), as the layer takes them, time first if it says so.
        sequences: how many of them are followed.

    Returns:
        The recurrence, in the order of its run.

    Raises:
        ValueError: if it is no such layer, if it draws at every step, or if `inputs`
            have no axes of batch and time.
    """
    if not is_rnn(rnn):
        raise ValueError(
            "`rnn` must be an `nnx.RNN` or a `gradstab.nn.RNN`, got "
            f"{type(rnn).__name__}."
        )
    if inputs.ndim != 2 + rnn.cell.num_feature_axes:
        raise ValueError(
            "`inputs` must have axes of batch, time and features, got shape "
            f"{inputs.shape}."
        )
    if rnn.time_major:
        inputs = jnp.moveaxis(inputs, 0, 1)
    inputs = inputs[:sequences]
    if rnn.reverse:
        inputs = jnp.flip(inputs, 1)
    if isinstance(rnn.cell, RecurrentCell) and rnn.cell.draws:
        raise ValueError(
            f"`rnn` must not draw at every step, as {type(rnn.cell).__name__} does; "
            "set its `deterministic`."
        )
    one_step = (inputs.shape[0], *inputs.shape[2:])
    carry = rnn.cell.initialize_carry(one_step, nnx.Rngs(0))
    return recurrence(rnn.cell, {"inputs": inputs, "carry": carry})
