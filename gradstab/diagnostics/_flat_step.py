"""A recurrence as a map of one real vector."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Step = Callable[[Any, Any], Any]


def flat_step(step: Step, carry: Any) -> tuple[Callable[[Array, Any], Array], Array]:
    """Writes a step of any carry as a step of one vector of real numbers.

    Real and imaginary parts stand side by side, since few activations have a complex
    derivative. What is no floating-point number, such as a counter, must not change.

    Args:
        step: pure function (carry, inputs of one step) -> carry.
        carry: a tree of arrays; its values are the first state.

    Returns:
        The same step of a vector, and the first vector, in float32 at least.

    Raises:
        ValueError: if there is no floating-point number in the carry.
    """
    leaves, treedef = jax.tree.flatten(carry)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    moving = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    parts = [
        part
        for leaf, m in zip(leaves, moving, strict=True)
        if m
        for part in _real(leaf)
    ]
    if not parts:
        raise ValueError("`carry` must hold floating-point numbers, got none.")
    wide = any(part.dtype == jnp.float64 for part in parts)
    dtype = jnp.float64 if wide else jnp.float32

    def flatten(tree: Any) -> Float[Array, " n"]:
        parts = [
            part.astype(dtype).ravel()
            for leaf, m in zip(jax.tree.leaves(tree), moving, strict=True)
            if m
            for part in _real(leaf)
        ]
        return jnp.concatenate(parts)

    def unflatten(vector: Float[Array, " n"]) -> Any:
        filled, start = [], 0
        for leaf, m in zip(leaves, moving, strict=True):
            if not m:
                filled.append(leaf)
                continue
            is_complex = jnp.iscomplexobj(leaf)
            real_dtype = jnp.finfo(leaf.dtype).dtype
            read = []
            for _ in range(2 if is_complex else 1):
                part = vector[start : start + leaf.size].reshape(leaf.shape)
                read.append(part.astype(real_dtype))
                start += leaf.size
            filled.append(jax.lax.complex(*read) if is_complex else read[0])
        return jax.tree.unflatten(treedef, filled)

    def advance(vector: Float[Array, " n"], inputs: Any) -> Float[Array, " n"]:
        return flatten(step(unflatten(vector), inputs))

    return advance, flatten(carry)


def _real(leaf: Array) -> tuple[Array, ...]:
    return (leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,)
