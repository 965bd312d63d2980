"""A loss that holds the size of gradients from step to step."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab._checks import check_integer
from gradstab.diagnostics._flat_step import flat_step
from gradstab.diagnostics._recurrence import recurrence_of


def jacobian_penalty(
    rnn: Any,
    inputs: Array,
    *,
    key: Array,
    probes: int = 1,
    sequences: int = 4,
) -> Float[Array, ""]:
    r"""Penalizes steps that shrink or stretch a gradient of random direction.

    .. math:: \frac{1}{T k} \sum_{t, i} (\|J_t^T v_{t,i}\| - 1)^2, \qquad
        J_t = \frac{\partial h_{t+1}}{\partial h_t}

    with random unit vectors v, averaged over sequences: 0 if all J_t are orthogonal. It
    looks at single steps and so costs no more than k vector-Jacobian products each,
    where `lyapunov_penalty` sees what they make together. The paper has the gradient of
    the task in the place of v: it holds the one direction that this loss needs now.

    Args:
        rnn: an `nnx.RNN` or a `gradstab.nn.RNN` that draws nothing, from its own first
            carry.
        inputs: what it is given, (batch, time, ...).
        key: of the random vectors: a new one for each step of training.
        probes: the number k of vectors a step.
        sequences: how many sequences of the batch count.

    Returns:
        The penalty. It flows to the parameters of the layer, the states included.

    Raises:
        ValueError: if a number is no integer >= 1, or `rnn` or `inputs` are of another
            kind.

    References:
        Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural
        networks", ICML 2013, arXiv:1211.5063, equation 9.
    """
    check_integer("probes", probes, 1)
    check_integer("sequences", sequences, 1)
    one = recurrence_of(rnn, inputs, sequences)

    def along(carry: Any, inputs: Any, key: Array) -> Array:
        advance, state = flat_step(one.step, carry)
        prepared = one.prepare(inputs)
        steps = jax.tree.leaves(prepared)[0].shape[0]
        vectors = jax.random.normal(key, (steps, probes, state.size), state.dtype)
        vectors /= jnp.linalg.norm(vectors, axis=-1, keepdims=True)

        def penalize(state: Array, here: Any) -> tuple[Array, Array]:
            inputs, vectors = here
            new, pull = jax.vjp(lambda h: advance(h, inputs), state)
            pulled = jax.vmap(lambda v: pull(v)[0])(vectors)
            square = jnp.sum(pulled**2, axis=-1)
            # The root has no slope at 0, where nothing is left to hold.
            norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
            return new, jnp.mean((norm - 1) ** 2)

        return jnp.mean(jax.lax.scan(penalize, state, (prepared, vectors))[1])

    followed = jax.tree.leaves(one.carry)[0].shape[0]
    keys = jax.random.split(key, followed)
    return jnp.mean(jax.vmap(along)(one.carry, one.inputs, keys))
