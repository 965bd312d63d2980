"""A branch that a stack of matrices takes only if one of them needs it."""

from collections.abc import Callable
from typing import TypeVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

X = TypeVar("X")


def apply_if(
    predicate: Bool[Array, ""], fn: Callable[..., X], x: X, *operands: Array
) -> X:
    """Returns `fn(x, *operands)` where `predicate` holds, else `x`.

    `lax.cond` does that for one matrix, but `jax.vmap` turns it into a select, which
    computes `fn` for every matrix of every stack. A loop of at most one round is
    skipped unless some matrix of the stack needs the round. It has no reverse mode: use
    it under a derivative rule.

    Args:
        predicate: whether to apply `fn`.
        fn: a function of arrays. What it depends on must come in `operands`.
        x: one array or a tree of arrays, as `fn` returns it.
        operands: further arguments of `fn`.

    Returns:
        A tree like `x`.
    """

    def apply(state: tuple[Array, X]) -> tuple[Array, X]:
        # Without the barrier XLA moves what depends on the operands alone ahead of the
        # loop, and so computes it always.
        pending, tied = lax.optimization_barrier((state[0], operands))
        return jnp.zeros_like(pending), fn(state[1], *tied)

    return lax.while_loop(lambda state: state[0], apply, (predicate, x))[1]
