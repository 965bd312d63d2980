"""The gradient over time."""

from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from gradstab.diagnostics._taps import Loss, names_of, recurrent_calls, tapped_calls


def gradient_norms(
    model: nnx.Module, batch: Any, loss: Loss
) -> dict[str, Float[Array, "steps batch"]]:
    r"""Measures how much of the gradient reaches each time step of each recurrence.

    .. math:: \left\| \frac{\partial L}{\partial h_t} \right\|

    with h_t the whole carry that enters step t, so that h_0 is the initial one and what
    a loss reads from the output of the same step is left out. Where it falls
    exponentially from the last step to the first, gradient descent cannot learn from
    the beginning of a sequence.

    Args:
        model: any module with `nnx.RNN`, `gradstab.nn.RNN` or cells that it calls step
            by step. It is left unchanged.
        batch: what `loss` takes.
        loss: function (model, batch) -> a scalar, or a tuple whose first is one.

    Returns:
        For the path of each recurrent layer the norms, of each sequence, with the axes
        of a batch made one; in the order of the run, which is backwards in time for a
        layer that runs backwards. It costs a backward pass without gradients of
        weights, and stores one number a step and sequence.

    Raises:
        ValueError: if the loss is no real scalar.
    """
    _, calls = tapped_calls(model, batch, loss)
    found = recurrent_calls(calls)
    return {
        name: call.gradient for name, call in zip(names_of(found), found, strict=True)
    }
