"""A recurrent cell applied over a sequence."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Int

from gradstab._checks import check_integer
from gradstab.nn._lengths import check_lengths, flip, step_mask
from gradstab.nn._materialize import materialize
from gradstab.nn._matmul_cell import MatmulCell
from gradstab.nn._methods import method_of, overrides
from gradstab.nn._parametrization import Fixed, Materialized
from gradstab.nn._recurrent_cell import RecurrentCell
from gradstab.recurrence import scan

STATE = nnx.Not(nnx.Any(nnx.Param, Fixed, Materialized))


class RNN(nnx.Module):
    """Applies a recurrent cell over a sequence, building its matrices once.

    It is called as `nnx.RNN` is and stands wherever that does, in `nnx.Bidirectional`
    too. Stock `nnx.RNN` gives the same values and gradients, but pays for the matrices
    at every step. Where a sequence has ended the outputs are zeros, and what stands in
    the inputs, NaN included, reaches no value and no gradient. Outside of `jax.jit` too
    it is compiled once for cells of a kind and sequences of a shape; whatever else a
    cell reads, such as a global variable, is read once then.

    Forward-mode differentiation has no rule through a `MatmulCell`: for that, call
    `nnx.RNN(materialize(cell))`. Reverse mode, and any mode over it, is all right.

    Args:
        cell: a `RecurrentCell`, or any `nnx.RNNCellBase` that holds parameters alone.
        time_major: whether time is the first axis of inputs and outputs, not the one
            before the features.
        return_carry: whether to return the last carry too.
        reverse: whether to run from the last step of each sequence to its first.
        keep_order: whether outputs of a reversed run stay in the order of the inputs,
            not in that of the run.
        unroll: how many steps the compiler sees as one.
        checkpoint_every: if k, the backward pass starts from one stored carry in k and
            recomputes the others; best if k divides the length.
        rngs: source of the `carry` and `draw` keys of cells that need them. None to
            pass `rngs` on each call, or for a cell that needs no key.

    Raises:
        ValueError: if `cell` is no recurrent cell, or a number is no integer >= 1.
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
        if not hasattr(cell, "initialize_carry"):
            raise ValueError(
                f"`cell` must be a recurrent cell, got {type(cell).__name__}."
            )
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
        self.rngs = nnx.data(None if rngs is None else rngs.fork())

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
            ValueError: if shapes do not agree, if `seq_lengths` leaves [0, time], if a
                random cell has no `rngs`, or if a stock cell holds state.
        """
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        rngs = self.rngs if rngs is None else rngs

        cell = self.cell
        cell = cell._built() if isinstance(cell, RecurrentCell) else materialize(cell)
        inputs = jnp.asarray(inputs)
        axes = inputs.ndim - cell.num_feature_axes
        if axes < 1:
            raise ValueError(
                "`inputs` must have a time axis before the features, got shape "
                f"{inputs.shape}."
            )
        time_axis = 0 if time_major else axes - 1
        steps = inputs.shape[time_axis]
        one_step = (*inputs.shape[:time_axis], *inputs.shape[time_axis + 1 :])
        mask = None
        if seq_lengths is not None:
            seq_lengths = check_lengths(seq_lengths, steps, one_step[: axes - 1])
            mask = step_mask(seq_lengths, steps, time_axis)

        kind = type(cell)
        step, project, sequence = method_of(kind, "__call__"), None, inputs
        if isinstance(cell, RecurrentCell):
            cell.check_inputs(inputs)
            step, project = method_of(kind, "step"), method_of(kind, "project")
            initial_carry = _start(cell, one_step, initial_carry)
            if cell.draws:
                drawn = _draw(cell, rngs, steps, axes, time_axis)
                sequence, project = (inputs, drawn), _project_beside
        else:
            _check_stateless(cell)
            if initial_carry is None:
                # Stock cells want a key for zeros too.
                rngs = nnx.Rngs(0) if rngs is None else rngs
                initial_carry = cell.initialize_carry(one_step, rngs)
        if isinstance(cell, MatmulCell) and not overrides(kind, MatmulCell, "step"):
            step = cell.matmul_step

        run = _compiled_scan if _may_be_kept(step, cell) else scan
        carry, outputs = run(
            step,
            cell,
            initial_carry,
            sequence,
            project=project,
            mask=mask,
            time_axis=time_axis,
            reverse=reverse,
            unroll=self.unroll,
            checkpoint_every=self.checkpoint_every,
        )
        if reverse and not keep_order:
            outputs = flip(outputs, seq_lengths, time_axis)
        return (carry, outputs) if return_carry else outputs

    def flax_twin(self) -> nnx.RNN | None:
        """Returns the `nnx.RNN` of the same cell, or None for a gradstab cell."""
        if isinstance(self.cell, RecurrentCell) or overrides(
            type(self), RNN, "__call__"
        ):
            return None
        return nnx.RNN(
            self.cell,
            time_major=self.time_major,
            return_carry=self.return_carry,
            reverse=self.reverse,
            keep_order=self.keep_order,
            unroll=self.unroll,
        )


_compiled_scan = jax.jit(
    scan,
    static_argnames=(
        "step",
        "project",
        "time_axis",
        "reverse",
        "unroll",
        "checkpoint_every",
    ),
)


def _may_be_kept(step: Any, cell: nnx.RNNCellBase) -> bool:
    """Tells whether the program of a cell may serve later calls too."""
    # It may depend on nothing that can change unseen, and write nothing.
    if isinstance(jnp.zeros(()), Tracer):  # `jax.jit` is tracing, and keeps its own
        return False
    if not all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(cell)):
        return False
    if jax.tree.leaves(nnx.state(cell, STATE)):
        return False
    try:
        hash((step, nnx.graphdef(cell)))
    except TypeError:  # lists and dictionaries can be edited
        return False
    return True


def _start(cell: RecurrentCell, one_step: tuple[int, ...], given: Any) -> Any:
    """Returns the carry before the first step, in the dtype of the state."""
    own = cell.initialize_carry(one_step)
    if given is None:
        return own
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (own, given)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"`initial_carry` must have shapes {shapes[0]}, got {shapes[1]}."
        )
    if any(map(jnp.iscomplexobj, jax.tree.leaves(given))) and not all(
        map(jnp.iscomplexobj, jax.tree.leaves(own))
    ):
        raise ValueError("`initial_carry` must be real, as the cell is.")
    return jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), given, own)


def _draw(cell: RecurrentCell, rngs: Any, steps: int, axes: int, time_axis: int) -> Any:
    """Draws for every step, the same for all sequences: time stands at its place."""
    if rngs is None:
        raise ValueError(
            f"`rngs` is required: {type(cell).__name__} draws at every step."
        )
    stream = rngs.draw if isinstance(rngs, nnx.Rngs) else rngs
    place = [1] * axes
    place[time_axis] = steps
    return jax.tree.map(
        lambda x: x.reshape(*place, *x.shape[1:]), cell.draw(stream(), steps)
    )


def _project_beside(cell: RecurrentCell, sequence: tuple[Array, Any]) -> Any:
    inputs, drawn = sequence
    return method_of(type(cell), "project")(cell, inputs), drawn


def _check_stateless(cell: nnx.RNNCellBase) -> None:
    if jax.tree.leaves(nnx.state(cell, STATE)):
        raise ValueError(
            f"`cell` must hold no state but its parameters, got a "
            f"{type(cell).__name__} with keys or statistics; use `nnx.RNN` for it."
        )
