"""A recurrence over time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from gradstab._checks import check_integer
from gradstab.recurrence._lean import lean_scan
from gradstab.recurrence._mask import erase
from gradstab.recurrence._matmul_step import MatmulStep
from gradstab.recurrence._plain import plain_scan


def scan(
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    params: Any,
    carry: Any,
    inputs: Any,
    *,
    project: Callable[[Any, Any], Any] | None = None,
    mask: Bool[Array, "..."] | None = None,
    time_axis: int = 0,
    reverse: bool = False,
    unroll: int = 1,
    checkpoint_every: int | None = None,
) -> tuple[Any, Any]:
    """Runs a recurrence over time, one step after the other.

    A step where `mask` is False leaves the carry as it was and returns zeros; nothing
    that stands in `inputs` there, NaN included, reaches a value or a gradient.

    From a `MatmulStep` follows a lean backward pass of first order: where the plain one
    stores all that autodiff asks for, it stores the outputs and at most the products.
    Gradients of gradients, and forward over reverse mode, are those of the plain
    recurrence. Forward mode alone has no rule; pass the step as a mere function,
    `step.__call__`, to have it.

    Args:
        step: pure function (params, carry, projected) -> (carry, output) of one time
            step. The carry keeps its shapes and dtypes.
        params: tree of arrays, to which gradients flow.
        carry: tree of arrays (*batch, ...): the state before the first step.
        inputs: tree of arrays (time, *batch, ...), or with time at `time_axis`. Axes of
            the batch may have length 1, for what all sequences share.
        project: pure function (params, inputs) -> projected, of all that does not
            depend on the carry, time first and of any length. None passes the inputs on
            to `step`.
        mask: which steps count, with the axes of time and batch; None for all.
        time_axis: the place of time in inputs, mask and outputs, at least 0.
        reverse: runs from the last time step to the first. Outputs stay in the order of
            `inputs`.
        unroll: how many steps the compiler sees as one.
        checkpoint_every: if k, the backward pass starts from one stored carry in k
            steps and recomputes the others. Best if k divides the length.

    Returns:
        The carry after the last step, and the outputs with time at `time_axis`.

    Raises:
        ValueError: if `unroll` or `checkpoint_every` is no integer >= 1, or `time_axis`
            none >= 0.
    """
    check_integer("time_axis", time_axis, 0)
    check_integer("unroll", unroll, 1)
    if checkpoint_every is not None:
        check_integer("checkpoint_every", checkpoint_every, 1)
    length = jax.tree.leaves(inputs)[0].shape[time_axis]
    is_lean = isinstance(step, MatmulStep) and length > 0
    run: Callable[..., Any] = lean_scan if is_lean else plain_scan

    def run_part(carry, start, stop, every):
        part = jax.tree.map(
            lambda x: lax.slice_in_dim(x, start, stop, axis=time_axis),
            (_erase_sequences(mask, inputs), mask),
        )
        return run(
            step,
            params,
            carry,
            *part,
            project=project or _pass_on,
            time_axis=time_axis,
            reverse=reverse,
            unroll=unroll,
            checkpoint_every=every,
        )

    every = checkpoint_every and min(checkpoint_every, max(length, 1))
    cut = length - length % every if every else length
    if cut == length:
        carry, outputs = run_part(carry, 0, length, every)
    else:
        pieces = [(0, cut, every), (cut, length, length - cut)]
        outputs = []
        for piece in reversed(pieces) if reverse else pieces:
            carry, output = run_part(carry, *piece)
            outputs.append(output)
        outputs = jax.tree.map(
            lambda *parts: jnp.concatenate(parts, time_axis),
            *(reversed(outputs) if reverse else outputs),
        )
    return carry, erase(mask, outputs)


def _pass_on(params: Any, inputs: Any) -> Any:
    return inputs


def _erase_sequences(mask: Any, inputs: Any) -> Any:
    """Puts zeros where sequences have ended; what all sequences share stays."""

    def erase_one(x: Array) -> Array:
        return erase(mask, x) if x.shape[: mask.ndim] == mask.shape else x

    return inputs if mask is None else jax.tree.map(erase_one, inputs)
