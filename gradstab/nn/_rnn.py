"""A recurrent cell applied over a sequence."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Bool, Int

from gradstab._checks import check_integer
from gradstab.nn._materialize import materialize
from gradstab.nn._matmul_cell import MatmulCell
from gradstab.nn._recurrent_cell import RecurrentCell
from gradstab.recurrence import scan


class RNN(nnx.Module):
    """Applies a recurrent cell over a sequence, building its matrices once.

    It is called as `nnx.RNN` is and stands wherever that does, in `nnx.Bidirectional`
    too. Outputs past the length of a sequence are zeros, and what stands in the inputs
    there, NaN included, reaches no value and no gradient.

    Args:
        cell: a `RecurrentCell`, or any other `nnx.RNNCellBase` that holds no state but
            its parameters.
        time_major: whether time is the first axis of inputs and outputs, not the one
            before the features.
        return_carry: whether to return the last carry too.
        reverse: whether to run from the last step of each sequence to its first.
        keep_order: whether outputs of a reversed run stay in the order of the inputs,
            not in that of the run.
        unroll: how many steps the compiler sees as one.
        checkpoint_every: if k, the backward pass starts from one stored carry in k and
            recomputes the others; best if k divides the length.
        rngs: source of the keys of `draw`, for cells that are random, and of
            `initialize_carry`, for cells that need one. None for no such cell, or to
            pass `rngs` on each call.
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        unroll: int = 1,
        checkpoint_every: int | None = None,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ):
        check_integer("unroll", unroll, 1)
        if checkpoint_every is not None:
            check_integer("checkpoint_every", checkpoint_every, 1)
        self.cell = cell
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order
        self.unroll = unroll
        self.checkpoint_every = checkpoint_every
        self.rngs = nnx.data(rngs.carry.fork() if isinstance(rngs, nnx.Rngs) else rngs)

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Any = None,
        seq_lengths: Int[Array, "*batch"] | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> Any:
        """Runs the cell over a sequence.

        Options left as None take the value given to the constructor.

        Args:
            inputs: shape (*batch, time, *features), or (time, *batch, *features) if
                `time_major`.
            initial_carry: the carry before the first step; the cell's own if None.
            seq_lengths: the length of each sequence; traced values are clamped to
                [0, time]. A sequence of length 0 keeps its initial carry.
            return_carry: see the class.
            time_major: see the class.
            reverse: see the class.
            keep_order: see the class.
            rngs: see the class.

        Returns:
            The outputs, time axis in the place it has in `inputs`; or the pair (last
            carry, outputs) if `return_carry`.

        Raises:
            ValueError: if shapes do not agree, or if `seq_lengths` leaves [0, time].
        """
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        rngs = self.rngs if rngs is None else rngs

        cell = materialize(self.cell)
        inputs = jnp.asarray(inputs)
        axes = inputs.ndim - cell.num_feature_axes
        time_axis = 0 if time_major else axes - 1
        step, project = type(cell).__call__, None
        if isinstance(cell, RecurrentCell):
            cell.check_inputs(inputs)
            step, project = type(cell).step, type(cell).project
        if isinstance(cell, MatmulCell) and step is MatmulCell.step:
            step = cell.matmul_step
        one_step = (*inputs.shape[:time_axis], *inputs.shape[time_axis + 1 :])
        if initial_carry is None:
            initial_carry = cell.initialize_carry(one_step, rngs)
        mask = None
        if seq_lengths is not None:
            steps, batch = inputs.shape[time_axis], one_step[: axes - 1]
            seq_lengths = _check_lengths(seq_lengths, steps, batch)
            mask = _mask(seq_lengths, steps, time_axis)

        carry, outputs = scan(
            step,
            cell,
            initial_carry,
            inputs,
            project=project,
            mask=mask,
            time_axis=time_axis,
            reverse=reverse,
            unroll=self.unroll,
            checkpoint_every=self.checkpoint_every,
        )
        if reverse and not keep_order:
            outputs = _flip(outputs, seq_lengths, time_axis)
        return (carry, outputs) if return_carry else outputs


def _check_lengths(lengths: Any, steps: int, batch: tuple[int, ...]) -> Array:
    if not isinstance(lengths, Tracer):
        known = np.asarray(lengths)
        if known.size and not (known.min() >= 0 and known.max() <= steps):
            raise ValueError(
                f"`seq_lengths` must lie in [0, {steps}], the length of the inputs, "
                f"got values from {known.min()} to {known.max()}."
            )
    lengths = jnp.asarray(lengths)
    if lengths.shape != batch or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"`seq_lengths` must be integers of shape {batch}, got "
            f"{lengths.dtype.name} of shape {lengths.shape}."
        )
    return jnp.clip(lengths, 0, steps)


def _mask(
    lengths: Int[Array, "*batch"], steps: int, time_axis: int
) -> Bool[Array, "..."]:
    times = jnp.arange(steps, dtype=lengths.dtype)
    lengths = jnp.expand_dims(lengths, time_axis)
    return times.reshape(_along(time_axis, lengths.ndim)) < lengths


def _flip(
    outputs: Array, lengths: Int[Array, "*batch"] | None, time_axis: int
) -> Array:
    """Puts the outputs of a reversed run in the order of the run."""
    if lengths is None:
        return jnp.flip(outputs, time_axis)
    # Past its length a sequence is zeros, in whatever order.
    steps = outputs.shape[time_axis]
    times = jnp.arange(steps, dtype=lengths.dtype)
    lengths = jnp.expand_dims(lengths, time_axis)
    order = lengths - 1 - times.reshape(_along(time_axis, lengths.ndim))
    order = jnp.where(order < 0, order + steps, order)
    order = order.reshape(*order.shape, *[1] * (outputs.ndim - order.ndim))
    return jnp.take_along_axis(outputs, order, axis=time_axis)


def _along(axis: int, ndim: int) -> tuple[int, ...]:
    return tuple(-1 if i == axis else 1 for i in range(ndim))
