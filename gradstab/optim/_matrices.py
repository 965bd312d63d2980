"""Which leaves of a tree are matrices, and how they are seen as such."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Inexact

from gradstab._precision import widened


def is_missing(update: Any) -> bool:
    """Tells whether a parameter gets no update."""
    return update is None or isinstance(update, optax.MaskedNode)


def is_matrix(leaf: Any) -> bool:
    """Tells whether a leaf has two axes or more, and real or complex entries."""
    leaf = jnp.asarray(leaf)
    return leaf.ndim >= 2 and leaf.size > 0 and jnp.issubdtype(leaf.dtype, jnp.inexact)


def as_matrix(leaf: Array) -> Inexact[Array, "rows columns"]:
    """Views a leaf as the matrix of its last axis against all others, in float32 up."""
    return widened(leaf).reshape(-1, leaf.shape[-1])


def map_matrices(
    change: Callable[[Array, Array], Array], updates: Any, params: Any
) -> Any:
    """Maps the updates of all matrices, and leaves the others as they are.

    Args:
        change: gives another update, of the update and the weight, both as matrices.
        updates: a tree; None and `optax.MaskedNode` stay.
        params: the weights, in the same places.

    Returns:
        The updates, each of the shape and dtype that it had.
    """

    def map_leaf(update: Any, weight: Any) -> Any:
        if is_missing(update) or not is_matrix(weight):
            return update
        made = change(*(as_matrix(jnp.asarray(leaf)) for leaf in (update, weight)))
        return made.reshape(update.shape).astype(update.dtype)

    return jax.tree.map(map_leaf, updates, params, is_leaf=is_missing)


def require_params(transform: str, params: Any) -> None:
    """Checks that a transformation was given the parameters.

    Args:
        transform: its name.
        params: what it was given.

    Raises:
        ValueError: if that is None.
    """
    if params is None:
        raise ValueError(f"{transform} needs `params`: pass them to `update`.")


def matmul(x: Array, y: Array) -> Array:
    """Multiplies without a loss of precision on any device."""
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


def gram_defect(matrix: Inexact[Array, "n m"]) -> Inexact[Array, "k k"]:
    """Subtracts the identity from the Gram matrix of the smaller side."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT.conj()
    gram = matmul(tall.mT.conj(), tall)
    return gram - jnp.eye(gram.shape[0], dtype=gram.dtype)
