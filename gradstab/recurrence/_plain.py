"""A recurrence as `lax.scan` of its step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gradstab.recurrence._blocks import block_length
from gradstab.recurrence._mask import erase, select


def plain_scan(
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    params: Any,
    carry: Any,
    inputs: Any,
    mask: Any,
    *,
    project: Callable[[Any, Any], Any],
    time_axis: int,
    reverse: bool,
    unroll: int,
    checkpoint_every: int | None,
) -> tuple[Any, Any]:
    """Runs any step; see `scan`. `checkpoint_every`, if given, divides the length."""
    inputs, mask = jax.tree.map(lambda x: jnp.moveaxis(x, time_axis, 0), (inputs, mask))
    length = jax.tree.leaves(inputs)[0].shape[0]
    ahead = block_length(length) == length
    if ahead:
        inputs = project(params, inputs)

    def advance(carry, here):
        inputs, keep = here
        if not ahead:
            alone = jax.tree.map(lambda x: x[None], inputs)
            inputs = jax.tree.map(lambda x: x[0], project(params, alone))
        after, output = step(params, carry, inputs)
        return select(keep, after, carry), erase(keep, output)

    def run(carry, sequence):
        return lax.scan(advance, carry, sequence, reverse=reverse, unroll=unroll)

    sequence = inputs, mask
    if checkpoint_every is None:
        carry, outputs = run(carry, sequence)
    else:
        shape = length // checkpoint_every, checkpoint_every
        sequence = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), sequence)
        run_block = jax.checkpoint(run, prevent_cse=False)
        carry, outputs = lax.scan(run_block, carry, sequence, reverse=reverse)
        outputs = jax.tree.map(lambda x: x.reshape(length, *x.shape[2:]), outputs)
    return carry, jax.tree.map(lambda x: jnp.moveaxis(x, 0, time_axis), outputs)
