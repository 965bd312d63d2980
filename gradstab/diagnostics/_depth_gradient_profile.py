"""What reaches each layer of a deep network."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from gradstab.diagnostics._taps import Call, Loss, names_of, tapped_calls


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DepthProfile:
    """What reaches each layer, in the order of the calls.

    Attributes:
        names: the path of each layer.
        activations: the root mean square of its output.
        gradients: the norm of the gradient of the loss at its output.
    """

    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    activations: Float[Array, " layers"]
    gradients: Float[Array, " layers"]


def depth_gradient_profile(model: nnx.Module, batch: Any, loss: Loss) -> DepthProfile:
    r"""Measures the gradient at the output of each layer.

    .. math:: \left\| \frac{\partial L}{\partial a_l} \right\|, \qquad
        \sqrt{\tfrac{1}{n_l} \|a_l\|^2}

    with a_l the output of layer l for the whole batch. Layers are modules that have
    parameters, or a `Parametrization`, of their own, but for those inside of a
    recurrence; each call of one counts, and layers stacked in the arrays of one module
    by `nnx.scan` count one by one. A layer whose output is no floating-point array, and
    one that runs in a loop of JAX that does not know it, is left out.

    Args:
        model: any module. It is left unchanged.
        batch: what `loss` takes.
        loss: function (model, batch) -> a scalar, or a tuple whose first is one.

    Returns:
        The profile. It costs a backward pass without gradients of weights.

    Raises:
        ValueError: if the loss is no real scalar.
    """
    _, calls = tapped_calls(model, batch, loss)
    return depth_profile(calls)


def depth_profile(calls: list[Call]) -> DepthProfile:
    """Reads the profile from what layers have left."""
    layers = [call for call in calls if "rms" in call.left]
    names: list[str] = []
    for call, name in zip(layers, names_of(layers), strict=True):
        count = jnp.size(call.gradient)
        names += [f"{name}[{i}]" for i in range(count)] if count > 1 else [name]
    empty = jnp.zeros(0)
    activations = [jnp.ravel(call.left["rms"]).astype(empty.dtype) for call in layers]
    gradients = [jnp.ravel(call.gradient) for call in layers]
    return DepthProfile(
        tuple(names),
        jnp.concatenate([empty, *activations]),
        jnp.concatenate([empty, *gradients]),
    )
