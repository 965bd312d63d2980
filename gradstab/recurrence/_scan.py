"""A recurrence over time, one step after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from gradstab._checks import check_integer
from gradstab.recurrence._projection import project_ahead

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def scan(
    step: Step,
    params: Any,
    carry: Any,
    inputs: Any,
    *,
    project: Callable[[Any, Any], Any] | None = None,
    mask: Bool[Array, " time *batch"] | None = None,
    reverse: bool = False,
    unroll: int = 1,
    checkpoint_every: int | None = None,
) -> tuple[Any, Any]:
    """Runs a recurrence over the leading axis of `inputs`.

    A step where `mask` is False leaves the carry as it was and returns zeros; nothing
    that stands in `inputs` there, NaN included, reaches a value or a gradient.

    Args:
        step: pure function (params, carry, projected) -> (carry, output) of one time
            step. The carry keeps its shape and dtype.
        params: tree of arrays that gradients flow to.
        carry: tree of arrays (*batch, ...): the state before the first step.
        inputs: tree of arrays (time, *batch, ...).
        project: pure function (params, inputs) -> projected of all that does not depend
            on the carry, for a stretch of any length of time. None passes the inputs
            on to `step`.
        mask: which steps count; None for all.
        reverse: runs from the last time step to the first. Outputs stay in the order of
            `inputs`.
        unroll: how many steps the compiler sees as one.
        checkpoint_every: if k, the backward pass starts from one stored carry in k
            steps and recomputes the others. Best if k divides the length.

    Returns:
        The carry after the last step and the outputs, a tree of (time, *batch, ...).

    Raises:
        ValueError: if `unroll` or `checkpoint_every` is no integer >= 1.
    """
    check_integer("unroll", unroll, 1)
    if checkpoint_every is not None:
        check_integer("checkpoint_every", checkpoint_every, 1)
    if mask is not None:
        inputs = jax.tree.map(lambda x: _where(mask, x, jnp.zeros_like(x)), inputs)
    if project is not None and project_ahead():
        inputs, project = project(params, inputs), None

    def advance(carry, here):
        inputs, keep = here
        if project is not None:
            inputs = jax.tree.map(lambda x: x[None], inputs)
            inputs = jax.tree.map(lambda x: x[0], project(params, inputs))
        after, output = step(params, carry, inputs)
        if keep is not None:
            after = jax.tree.map(lambda new, old: _where(keep, new, old), after, carry)
            output = jax.tree.map(lambda y: _where(keep, y, jnp.zeros_like(y)), output)
        return after, output

    def run(carry, stretch):
        return lax.scan(advance, carry, stretch, reverse=reverse, unroll=unroll)

    if checkpoint_every is None:
        return run(carry, (inputs, mask))
    return _in_stretches(run, carry, (inputs, mask), checkpoint_every, reverse)


def _in_stretches(run, carry, sequence, every, reverse):
    """Runs stretch by stretch, keeping no more than the carry at each start."""
    run = jax.checkpoint(run, prevent_cse=False)
    length = jax.tree.leaves(sequence)[0].shape[0]
    whole = length - length % every
    even = jax.tree.map(
        lambda x: x[:whole].reshape(whole // every, every, *x.shape[1:]), sequence
    )
    rest = jax.tree.map(lambda x: x[whole:], sequence)

    def run_even(carry):
        carry, outputs = lax.scan(run, carry, even, reverse=reverse)
        return carry, jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), outputs)

    if whole == length:
        return run_even(carry)
    if reverse:
        carry, last = run(carry, rest)
        carry, first = run_even(carry)
    else:
        carry, first = run_even(carry)
        carry, last = run(carry, rest)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, last)


def _where(mask, new, old):
    """Selects along the leading axes that `mask` has."""
    mask = mask.reshape(*mask.shape, *[1] * (new.ndim - mask.ndim))
    return jnp.where(mask, new, old)
