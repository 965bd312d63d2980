"""Back-propagation through time that knows the matrix products of its step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from gradstab._precision import widened
from gradstab.recurrence._blocks import Blocks, block_length
from gradstab.recurrence._cotangents import (
    add_cotangents,
    without_integers,
    zero_cotangents,
)
from gradstab.recurrence._lean_block import pull_block, run_block
from gradstab.recurrence._matmul_step import MatmulStep
from gradstab.recurrence._plain import plain_scan


def lean_scan(
    step: MatmulStep,
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
) -> tuple[Any, Array]:
    """Runs a `MatmulStep`: see `scan` for the arguments.

    The forward pass stores all carries and products, or with `checkpoint_every`, which
    divides the length, no more than the carry at the start of each block.

    Returns:
        The carry after the last step and the outputs.
    """
    length = jax.tree.leaves(inputs)[0].shape[time_axis]
    recompute = checkpoint_every is not None
    blocks = Blocks(
        length, checkpoint_every or block_length(length), time_axis, reverse
    )
    loop = {"reverse": reverse, "unroll": unroll}
    unroll_blocks = unroll if blocks.block == 1 else 1

    def outputs_of(params, carries):
        return jax.vmap(lambda carry: step.state(params, carry))(carries)

    def forward(params, kernels, carry, inputs, mask):
        def advance(progress, i):
            carry, history = progress
            projected = project(params, blocks.take(inputs, i))
            keep = blocks.take(mask, i)
            after, (carries, products) = run_block(
                step, params, kernels, carry, projected, keep, **loop
            )
            stored = outputs_of(params, carries) if recompute else carries
            history = blocks.put(history, stored, i)
            return (after, history), carry if recompute else products

        history = blocks.room(step.state(params, carry) if recompute else carry)
        (after, history), kept = lax.scan(
            advance,
            (carry, history),
            jnp.arange(blocks.count),
            unroll=unroll_blocks,
        )
        outputs = history if recompute else outputs_of(params, history)
        arguments = params, kernels, carry, inputs, mask
        return (after, outputs), (arguments, None if recompute else history, kept)

    @jax.custom_jvp
    def pull(arguments, history, kept, cotangents):
        params, kernels, carry, inputs, mask = arguments
        d_carry, d_outputs = cotangents

        def retreat(sums, here):
            d_carry, d_params, d_kernels, d_inputs = sums
            i, kept = here
            projected, pull_projected = jax.vjp(project, params, blocks.take(inputs, i))
            keep = blocks.take(mask, i)
            if recompute:
                first = kept
                _, (after, products) = run_block(
                    step, params, kernels, first, projected, keep, **loop
                )
            else:
                first = blocks.before(history, i, carry)
                after, products = blocks.take(history, i), kept
            before = blocks.delay(after, first)
            trace = before, after, products, projected, keep, blocks.take(d_outputs, i)
            (d_carry, d_params), (fed, d_products, d_projected) = pull_block(
                step, params, kernels, trace, d_carry, d_params, **loop
            )
            met = [outputs_of(params, before)] * step.count_first(kernels)
            for feed, states in zip(step.feeds, fed, strict=True):
                met += [states] * feed.meets
            d_kernels = tuple(
                total + _contract(states, d_product, total.dtype)
                for total, states, d_product in zip(
                    d_kernels, met, d_products, strict=True
                )
            )
            d_more, d_part = pull_projected(d_projected)
            d_params = add_cotangents(d_params, d_more)
            d_inputs = jax.tree.map(
                lambda x, y: x if y.dtype == jax.dtypes.float0 else blocks.put(x, y, i),
                d_inputs,
                d_part,
            )
            return (d_carry, d_params, d_kernels, d_inputs), None

        wide = tuple(widened(kernel) for kernel in kernels)
        sums = zero_cotangents((carry, params, wide, inputs))
        sums = add_cotangents(sums[0], d_carry), *sums[1:]
        (d_carry, d_params, d_kernels, d_inputs), _ = lax.scan(
            retreat,
            sums,
            (jnp.arange(blocks.count), kept),
            reverse=True,
            unroll=unroll_blocks,
        )
        return (
            without_integers(params, d_params),
            jax.tree.map(lambda x, y: y.astype(x.dtype), kernels, d_kernels),
            without_integers(carry, d_carry),
            without_integers(inputs, d_inputs),
            None,
        )

    @pull.defjvp
    def pull_jvp(primals, tangents):
        # Derivatives of the gradient are those of the plain recurrence.
        def reference(arguments, cotangents):
            *arguments, mask = arguments

            def run(params, kernels, carry, inputs):
                return plain_scan(
                    dataclasses.replace(step, kernels=lambda _: kernels),
                    params,
                    carry,
                    inputs,
                    mask,
                    project=project,
                    time_axis=time_axis,
                    reverse=reverse,
                    unroll=unroll,
                    checkpoint_every=checkpoint_every,
                )

            cotangents = jax.vjp(run, *arguments)[1](cotangents)
            return *map(without_integers, arguments, cotangents), None

        first, last = (primals[0], primals[-1]), (tangents[0], tangents[-1])
        return jax.jvp(reference, first, last)

    @jax.custom_vjp
    def run(*arguments):
        return forward(*arguments)[0]

    run.defvjp(forward, lambda residuals, cotangents: pull(*residuals, cotangents))
    return run(params, step.kernels(params), carry, inputs, mask)


def _contract(states: Array, d_product: Array, dtype: Any) -> Array:
    """Sums the outer products over time and batch."""
    axes = tuple(range(states.ndim - 1))
    return lax.dot_general(
        states, d_product, ((axes, axes), ((), ())), preferred_element_type=dtype
    )
