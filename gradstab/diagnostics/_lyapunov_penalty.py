"""A loss that moves Lyapunov exponents."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_real
from gradstab.diagnostics._lyapunov_exponents import lyapunov_exponents
from gradstab.diagnostics._recurrence import recurrence_of


def lyapunov_penalty(
    rnn: Any,
    inputs: Array,
    *,
    count: int,
    target: float = 0.0,
    sequences: int = 4,
    burn_in: int = 0,
    key: Array | None = None,
) -> Float[Array, ""]:
    r"""Penalizes leading Lyapunov exponents that are not at a target.

    .. math:: \frac{1}{k} \sum_{i=1}^k (\lambda_i - \lambda^*)^2

    averaged over sequences. At the target 0, k directions of the state neither vanish
    nor explode: "gradient flossing", as a loss before training, beside the loss of a
    task, or from time to time between. It flows to the parameters of the layer, through
    every QR factorization; over many steps of a chaotic recurrence that gradient
    explodes itself, so keep the sequences short, some tens of steps. Costs what
    `lyapunov_exponents` does, about thrice with the gradient.

    Args:
        rnn: an `nnx.RNN` or a `gradstab.nn.RNN` that draws nothing, from its own first
            carry.
        inputs: what it is given, (batch, time, ...).
        count: the number k.
        target: the exponent λ* wanted, in nats a step.
        sequences: how many sequences of the batch count.
        burn_in: how many steps are taken before they count.
        key: of the random tangents; key 0 if None.

    Returns:
        The penalty: not finite where an exponent is -inf, of a direction that dies
        within a step.

    Raises:
        ValueError: if a number lies outside its range, or `rnn` or `inputs` are of
            another kind.

    References:
        Engelken, "Gradient Flossing: Improving Gradient Descent through Dynamic Control
        of Jacobians", NeurIPS 2023, arXiv:2312.17306, section 3.
    """
    check_integer("count", count, 1)
    check_integer("sequences", sequences, 1)
    check_real("target", target)
    one = recurrence_of(rnn, inputs, sequences)

    def exponents(carry: Any, inputs: Any) -> Array:
        return lyapunov_exponents(
            one.step, carry, one.prepare(inputs), count=count, burn_in=burn_in, key=key
        ).values

    values = jax.vmap(exponents)(one.carry, one.inputs)
    return jnp.mean((values - target) ** 2)
