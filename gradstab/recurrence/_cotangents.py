"""Sums of cotangents of trees that may hold integers and keys."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def zero_cotangents(tree: Any) -> Any:
    """Makes zeros to add cotangents of `tree` to; in float32 for what has none."""
    return jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype if _has_cotangent(x) else jnp.float32),
        tree,
    )


def add_cotangents(total: Any, more: Any) -> Any:
    """Adds what `jax.vjp` returned to a sum begun by `zero_cotangents`."""
    return jax.tree.map(
        lambda x, y: x if y.dtype == jax.dtypes.float0 else x + y, total, more
    )


def cotangents_like(tree: Any, total: Any) -> Any:
    """Turns a sum begun by `zero_cotangents` into what a pullback takes."""

    def like(x: Any, y: Any) -> Any:
        return y if _has_cotangent(x) else np.zeros(x.shape, jax.dtypes.float0)

    return jax.tree.map(like, tree, total)


def without_integers(tree: Any, cotangents: Any) -> Any:
    """Puts None, which stands for zero, where `tree` has no cotangent."""
    return jax.tree.map(lambda x, y: y if _has_cotangent(x) else None, tree, cotangents)


def _has_cotangent(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)
