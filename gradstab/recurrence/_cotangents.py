"""Sums of cotangents of trees that may hold integers and keys."""

from typing import Any

import jax
import jax.numpy as jnp


def zero_cotangents(tree: Any) -> Any:
    """Makes zeros to add cotangents of `tree` to; a scalar for what has none."""
    return jax.tree.map(
        lambda x: jnp.zeros_like(x) if _has_cotangent(x) else jnp.zeros(()), tree
    )


def add_cotangents(total: Any, more: Any) -> Any:
    """Adds what `jax.vjp` returned to a sum begun by `zero_cotangents`."""
    return jax.tree.map(
        lambda x, y: x if y.dtype == jax.dtypes.float0 else x + y, total, more
    )


def without_integers(tree: Any, cotangents: Any) -> Any:
    """Puts None, which stands for zero, where `tree` has no cotangent."""
    return jax.tree.map(lambda x, y: y if _has_cotangent(x) else None, tree, cotangents)


def _has_cotangent(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)
