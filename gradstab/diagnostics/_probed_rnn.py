"""A recurrent layer whose gradient is measured at every time step."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from gradstab.diagnostics._norm_probe import norm_probe
from gradstab.nn import RNN, RecurrentCell
from gradstab.nn._lengths import flip, step_mask

SEQUENCES = 4  # how many sequences of a batch are followed step by step


def is_rnn(module: Any) -> bool:
    """Tells whether a module runs a cell over a sequence."""
    return rnn_base(module) is not None


def rnn_base(module: Any) -> type | None:
    """Returns the class whose call runs the cell, None for other modules."""
    return next((kind for kind in (nnx.RNN, RNN) if isinstance(module, kind)), None)


def run_probed(
    rnn: Any,
    call: Callable[..., Any],
    slot: Callable[[tuple[int, ...]], Array],
    inputs: Array,
    *,
    initial_carry: Any = None,
    seq_lengths: Any = None,
    time_major: bool | None = None,
    reverse: bool | None = None,
    **options: Any,
) -> tuple[Any, dict[str, Any]]:
    """Runs a recurrent layer, with a probe on the carry that enters each step.

    The slot travels beside the features of the inputs, so that the layer itself, be it
    Flax's or ours, does all it does about time, lengths and randomness.

    Args:
        rnn: the layer.
        call: its own call.
        slot: gives an array of a shape, here (time, sequences) in the order of the run;
            its gradient is the norm of the gradient at each carry.
        inputs: what it was given.
        initial_carry: what it was given.
        seq_lengths: what it was given.
        time_major: what it was given.
        reverse: what it was given.
        **options: what else it was given.

    Returns:
        What the layer returns, and of the first sequences, the longest if they differ,
        the inputs (sequence, time, ...) in the order of the run, the carry before the
        first, the mask and the draws.
    """
    reverse = rnn.reverse if reverse is None else reverse
    time_major = rnn.time_major if time_major is None else time_major
    cell = rnn.cell
    axes = inputs.ndim - cell.num_feature_axes
    time_axis = 0 if time_major else axes - 1
    steps = inputs.shape[time_axis]

    batch_axes = axes - 1
    spatial = inputs.ndim - axes - 1
    one_step = (*inputs.shape[:time_axis], *inputs.shape[time_axis + 1 :])
    batch = one_step[:batch_axes]
    slots = slot((steps, math.prod(batch)))
    beside = jnp.moveaxis(slots.reshape(steps, *batch), 0, time_axis)
    beside = flip(beside, seq_lengths, time_axis) if reverse else beside
    joined = _beside(inputs, beside.reshape(*beside.shape, *[1] * (spatial + 1)))
    caught = _Caught()
    within_ours = isinstance(rnn, RNN) and isinstance(cell, RecurrentCell)
    probed = _ProbedRecurrentCell if within_ours else _ProbedCell
    rnn.cell = probed(cell, inputs.dtype, spatial, caught)
    every = getattr(rnn, "checkpoint_every", None)
    if isinstance(rnn, RNN) and every is None:
        # A probe stands in the way of the lean backward pass. Recomputing stretches of
        # the run stores less than that does.
        rnn.checkpoint_every = max(math.isqrt(steps), 1)
    try:
        out = call(
            joined,
            initial_carry=initial_carry,
            seq_lengths=seq_lengths,
            time_major=time_major,
            reverse=reverse,
            **options,
        )
    finally:
        rnn.cell = cell
        if isinstance(rnn, RNN):
            rnn.checkpoint_every = every

    run = flip(inputs, seq_lengths, time_axis) if reverse else inputs
    run = jnp.moveaxis(run, time_axis, batch_axes)
    carry = caught.carry if initial_carry is None else initial_carry
    longest = None
    if seq_lengths is not None:
        longest = jnp.argsort(-jnp.ravel(jnp.asarray(seq_lengths)))

    def followed(x: Array) -> Array:
        return first_sequences(x, batch_axes, longest)

    seen = {
        "slot": slots,
        "inputs": followed(run),
        "carry": jax.tree.map(followed, carry),
    }
    if seq_lengths is not None:
        mask = step_mask(jnp.asarray(seq_lengths), steps, time_axis)
        seen["mask"] = followed(jnp.moveaxis(mask, time_axis, batch_axes))
    if caught.drawn is not None:
        seen["drawn"] = caught.drawn
    return out, seen


class _Caught:
    """What a cell was asked for on the way; no program that holds it serves twice."""

    carry: Any = None
    drawn: Any = None
    __hash__ = None  # pyright: ignore[reportAssignmentType]


class _ProbedCell(nnx.RNNCellBase):
    """A cell whose inputs have a slot for the last feature."""

    def __init__(self, cell: Any, dtype: Any, spatial: int, caught: _Caught):
        self.cell = cell
        self.dtype = dtype
        self.spatial = spatial
        self.caught = caught

    def __call__(self, carry: Any, inputs: Array) -> tuple[Any, Any]:
        features, slot = _apart(inputs, self.dtype, self.spatial)
        return self.cell(norm_probe(carry, slot), features)

    def initialize_carry(
        self, input_shape: tuple[int, ...], *args: Any, **options: Any
    ) -> Any:
        shape = (*input_shape[:-1], input_shape[-1] - 1)
        self.caught.carry = self.cell.initialize_carry(shape, *args, **options)
        return self.caught.carry

    @property
    def num_feature_axes(self) -> int:
        return self.cell.num_feature_axes

    def __getattr__(self, name: str) -> Any:
        # A layer may ask its cell for sizes.
        if name.startswith("_") or name == "cell":
            raise AttributeError(name)
        return getattr(self.cell, name)


class _ProbedRecurrentCell(RecurrentCell):
    """The same for cells that do ahead what does not depend on the carry."""

    def __init__(self, cell: Any, dtype: Any, spatial: int, caught: _Caught):
        self.cell = cell
        self.dtype = dtype
        self.spatial = spatial
        self.caught = caught

    def _built(self) -> Any:
        return _ProbedRecurrentCell(
            self.cell._built(), self.dtype, self.spatial, self.caught
        )

    def project(self, inputs: Array) -> Any:
        features, slot = _apart(inputs, self.dtype, self.spatial)
        return self.cell.project(features), slot

    def draw(self, key: Array, steps: int) -> Any:
        self.caught.drawn = self.cell.draw(key, steps)
        return self.caught.drawn

    @property
    def draws(self) -> bool:
        return self.cell.draws

    def step(self, carry: Any, projected: Any) -> tuple[Any, Any]:
        (projected, slot), *drawn = projected if self.draws else (projected,)
        projected = (projected, *drawn) if drawn else projected
        return self.cell.step(norm_probe(carry, slot), projected)

    def initialize_carry(
        self, input_shape: tuple[int, ...], *args: Any, **options: Any
    ) -> Any:
        shape = (*input_shape[:-1], input_shape[-1] - 1)
        self.caught.carry = self.cell.initialize_carry(shape, *args, **options)
        return self.caught.carry

    def check_inputs(self, inputs: Array) -> None:
        self.cell.check_inputs(_apart(inputs, self.dtype, self.spatial)[0])

    @property
    def num_feature_axes(self) -> int:
        return self.cell.num_feature_axes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "cell":
            raise AttributeError(name)
        return getattr(self.cell, name)


def _beside(inputs: Array, slot: Array) -> Array:
    """Puts a slot behind the last feature, in the dtype that holds both."""
    slot = jnp.broadcast_to(slot, (*inputs.shape[:-1], 1))
    if _as_bits(inputs.dtype, slot.dtype):
        inputs = jax.lax.bitcast_convert_type(inputs, slot.dtype)
    is_complex = jnp.iscomplexobj(inputs)
    dtype = jnp.result_type(slot.dtype, jnp.complex64) if is_complex else slot.dtype
    joined = [inputs.astype(dtype), slot.astype(dtype)]
    return jnp.concatenate(joined, axis=-1)


def _apart(joined: Array, dtype: Any, spatial: int) -> tuple[Array, Array]:
    """Undoes `_beside`."""
    slot = joined[(..., *[0] * spatial, -1)].real
    features = joined[..., :-1]
    if _as_bits(dtype, joined.dtype):
        return jax.lax.bitcast_convert_type(features, dtype), slot
    return (features if dtype == joined.dtype else features.astype(dtype)), slot


def _as_bits(dtype: Any, wide: Any) -> bool:
    """Tells whether integers have more digits than the numbers beside them."""
    same_size = jnp.dtype(dtype).itemsize == jnp.dtype(wide).itemsize
    return jnp.issubdtype(dtype, jnp.integer) and same_size


def first_sequences(
    x: Array, batch_axes: int, order: Int[Array, " batch"] | None = None
) -> Array:
    """Takes the first sequences of a batch, whatever its axes, in some order."""
    x = x.reshape(math.prod(x.shape[:batch_axes]), *x.shape[batch_axes:])
    return x[:SEQUENCES] if order is None else x[order[:SEQUENCES]]
