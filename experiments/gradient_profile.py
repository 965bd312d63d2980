"""The gradient of the loss with respect to the state at every time step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.zero_carry import zero_carry


def gradient_profile(
    cell: nnx.RNNCellBase,
    losses: Callable[[Any], Float[Array, " batch"]],
    inputs: Float[Array, "batch time features"],
) -> Float[Array, "time batch"]:
    """Measures how much of the gradient reaches each time step.

    A perturbation that is zero is added to the state before every step; the gradient
    with respect to it is ∂L/∂h_t, so that one backward pass gives all time steps. Where
    it falls exponentially from the last step to the first, gradient descent cannot
    learn from the beginning of a sequence.

    Args:
        cell: any deterministic cell of the Flax contract.
        losses: the loss of each sequence, given outputs (batch, time, features).
        inputs: the sequences.

    Returns:
        The norm ‖∂L_b/∂h_t‖ of the gradient of the loss of sequence b with respect to
        the whole carry that enters time step t; h_0 is the initial carry.
    """
    cell = gs.nn.materialize(cell)
    inputs = jnp.moveaxis(inputs, 1, 0)
    start = zero_carry(cell, inputs.shape[1:])
    still = jax.tree.map(
        lambda x: jnp.zeros((inputs.shape[0], *x.shape), x.dtype), start
    )

    def total(perturbations):
        def advance(carry, here):
            features, perturbation = here
            return cell(jax.tree.map(jnp.add, carry, perturbation), features)

        _, outputs = jax.lax.scan(advance, start, (inputs, perturbations))
        # A sequence does not see the others: the gradient of the sum holds the
        # gradient of each.
        return jnp.sum(losses(jnp.moveaxis(outputs, 0, 1)))

    gradients = jax.tree.leaves(jax.grad(total)(still))
    squares = sum(jnp.sum(jnp.abs(g) ** 2, axis=-1) for g in gradients)
    return jnp.sqrt(jnp.asarray(squares))
