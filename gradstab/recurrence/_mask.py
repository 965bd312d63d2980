"""Selecting by time step and sequence."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

T = TypeVar("T")


def select(mask: Bool[Array, "..."] | None, new: T, old: T) -> T:
    """Takes `new` where `mask` is True or None, and `old` elsewhere.

    Args:
        mask: one truth value for each place along the leading axes of the arrays.
        new: tree of arrays.
        old: tree of arrays of the same shapes.

    Returns:
        Such a tree. What is not selected reaches no gradient.
    """
    if mask is None:
        return new
    return jax.tree.map(lambda x, y: jnp.where(_expand(mask, x), x, y), new, old)


def erase(mask: Bool[Array, "..."] | None, tree: T) -> T:
    """Puts zeros where `mask` is False, whatever stood there."""
    if mask is None:
        return tree
    return select(mask, tree, jax.tree.map(jnp.zeros_like, tree))


def _expand(mask: Array, like: Array) -> Any:
    return mask.reshape(*mask.shape, *[1] * (like.ndim - mask.ndim))
