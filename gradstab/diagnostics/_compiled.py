"""Measurements that are compiled once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array

from gradstab.diagnostics._taps import Loss


def compiled(measure: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a measurement once for models of a kind, a loss and shapes of a batch.

    Args:
        measure: pure function (model, batch, loss, *arrays, **constants) -> arrays.

    Returns:
        The same function. Of the batch, what is no array is a constant too.
    """

    @functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
    def run(
        graph: Any,
        loss: Loss,
        parts: tuple[Any, tuple[bool, ...], tuple[Any, ...]],
        constants: tuple[tuple[str, Any], ...],
        state: Any,
        arrays: list[Array],
        more: tuple[Array, ...],
    ) -> Any:
        tree, is_array, fixed = parts
        rest = iter(arrays)
        leaves = [next(rest) if a else x for a, x in zip(is_array, fixed, strict=True)]
        batch = jax.tree.unflatten(tree, leaves)
        model = nnx.merge(graph, state, copy=True)
        return measure(model, batch, loss, *more, **dict(constants))

    def call(
        model: nnx.Module, batch: Any, loss: Loss, *more: Array, **constants: Any
    ) -> Any:
        graph, state = nnx.split(model)
        leaves, tree = jax.tree.flatten(batch)
        is_array = tuple(
            isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves
        )
        both = list(zip(leaves, is_array, strict=True))
        fixed = tuple(None if array else leaf for leaf, array in both)
        arrays = [leaf for leaf, array in both if array]
        parts = tree, is_array, fixed
        return run(graph, loss, parts, tuple(constants.items()), state, arrays, more)

    return call
