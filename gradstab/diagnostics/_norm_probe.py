"""An identity through which a gradient leaves its norm behind."""

import math
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.dtypes import float0
from jaxtyping import Array, Float, Inexact

from gradstab._precision import widened

T = TypeVar("T")


@jax.custom_vjp
def norm_probe(tree: T, slot: Float[Array, "..."]) -> T:
    r"""Returns `tree`; the gradient with respect to `slot` is the norm of its gradient.

    .. math:: y = x, \qquad \bar x = \bar y, \qquad \bar s = \|\bar y\|

    A perturbation of the size of x would have all of ȳ for its gradient, at the price
    of storing it at every step of a recurrence. The slot stores one number. It is no
    derivative of anything: differentiate once, in reverse mode.

    Args:
        tree: arrays whose leading axes are those of `slot`.
        slot: numbers of any value, one for each norm that is wanted.

    Returns:
        A tree like `tree`.
    """
    return tree


def _forward(tree: T, slot: Array) -> tuple[T, Array]:
    return tree, slot


def _backward(slot: Array, cotangent: Any) -> tuple[Any, Array]:
    norms = [
        trailing_norm(leaf, slot.ndim).astype(slot.dtype)
        for leaf in jax.tree.leaves(cotangent)
        if leaf.dtype != float0
    ]
    if not norms:
        return cotangent, jnp.zeros_like(slot)
    return cotangent, trailing_norm(jnp.stack(norms, -1), slot.ndim)


norm_probe.defvjp(_forward, _backward)


def trailing_norm(x: Inexact[Array, "..."], leading: int) -> Float[Array, "..."]:
    """Returns the norm over all axes but the first ones; no square overflows.

    Args:
        x: real or complex.
        leading: how many axes stay.

    Returns:
        The norms, in float32 at least; NaN or infinity where an entry is.
    """
    x = widened(x)
    kept = x.shape[:leading]
    size = jnp.abs(x).reshape(*kept, math.prod(x.shape[leading:]))
    peak = jnp.max(size, axis=-1, keepdims=True, initial=0)
    scale = jnp.where((peak > 0) & jnp.isfinite(peak), peak, jnp.ones_like(peak))
    norm = jnp.sqrt(jnp.sum((size / scale) ** 2, axis=-1))
    return norm * scale[..., 0]
