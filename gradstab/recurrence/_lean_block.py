"""A block of time steps of a `MatmulStep`, time first."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from gradstab.recurrence._cotangents import add_cotangents, cotangents_like
from gradstab.recurrence._mask import erase, select
from gradstab.recurrence._matmul_step import MatmulStep, multiply


def run_block(
    step: MatmulStep,
    params: Any,
    kernels: tuple[Array, ...],
    carry: Any,
    projected: Any,
    mask: Array | None,
    **loop: Any,
) -> tuple[Any, tuple[Any, tuple[Array, ...] | None]]:
    """Advances through a block.

    Returns:
        The carry after the block; and, for every step, the carry after it and its
        products, None in their place if the step has a pullback.
    """

    def advance(carry, here):
        projected, keep = here
        products = step.products(params, kernels, carry, projected)
        after = step.activate(params, carry, products, projected)
        after = select(keep, after, carry)
        return after, (after, None if step.pullback else products)

    return lax.scan(advance, carry, (projected, mask), **loop)


def pull_block(
    step: MatmulStep,
    params: Any,
    kernels: tuple[Array, ...],
    trace: tuple[Any, Any, tuple[Array, ...] | None, Any, Array | None, Array],
    d_carry: Any,
    d_params: Any,
    *,
    reverse: bool,
    unroll: int,
) -> tuple[tuple[Any, Any], tuple[tuple[Array, ...], tuple[Array, ...], Any]]:
    """Pulls cotangents back through a block.

    Args:
        step: the step.
        params: what its functions read.
        kernels: its kernels.
        trace: for every step, the carries before and after it, its products as
            `run_block` gave them, the projected inputs, the mask and the cotangent of
            the output.
        d_carry: cotangent of the carry after the block.
        d_params: sum of cotangents of `params` so far.
        reverse: whether the recurrence goes from the last step to the first.
        unroll: how many steps the compiler sees as one.

    Returns:
        The cotangent of the carry before the block and the sum; and, for every step,
        what its feeds made, and the cotangents of its products and of its projected
        inputs.
    """
    first = step.count_first(kernels)

    def pull_state(carry, d_state):
        return jax.vjp(lambda carry: step.state(params, carry), carry)[1](d_state)[0]

    def transposed(d_products, kernels):
        return sum(
            multiply(d_product, (kernel.mT,))[0]
            for d_product, kernel in zip(d_products, kernels, strict=True)
        )

    def retreat(sums, here):
        d_carry, d_params = sums
        before, after, products, projected, keep, d_output = here
        d_after = add_cotangents(d_carry, pull_state(after, d_output))
        d_before = select(keep, jax.tree.map(jnp.zeros_like, d_after), d_after)
        d_after = erase(keep, d_after)
        if step.pullback:
            d_products, d_projected = step.pullback(params, after, d_after)
        else:
            _, pull = jax.vjp(step.activate, params, before, products, projected)
            pulled = pull(cotangents_like(after, d_after))
            d_more, d_direct, d_products, d_projected = pulled
            d_params = add_cotangents(d_params, d_more)
            d_before = add_cotangents(d_before, d_direct)
        fed, end = (), len(kernels)
        for feed in reversed(step.feeds):
            start = end - feed.meets
            state, pull = jax.vjp(
                feed.state, params, before, products[:start], projected
            )
            d_state = transposed(d_products[start:end], kernels[start:end])
            d_more, d_direct, d_earlier, d_beside = pull(d_state)
            d_params = add_cotangents(d_params, d_more)
            d_before = add_cotangents(d_before, d_direct)
            d_earlier = add_cotangents(d_products[:start], d_earlier)
            d_products = (*d_earlier, *d_products[start:])
            d_projected = add_cotangents(d_projected, d_beside)
            fed, end = (state, *fed), start
        if first:
            d_state = transposed(d_products[:first], kernels[:first])
            d_before = add_cotangents(d_before, pull_state(before, d_state))
        return (d_before, d_params), (fed, d_products, d_projected)

    return lax.scan(
        retreat, (d_carry, d_params), trace, reverse=not reverse, unroll=unroll
    )
