"""Where a sequence starts."""

from typing import Any

import jax
from flax import nnx

import gradstab as gs


def zero_carry(cell: nnx.RNNCellBase, shape: tuple[int, ...]) -> Any:
    """Makes the carry before the first step.

    Flax's cells would start in the dtype of their weights and go on in that of their
    products, which no scan takes: theirs starts in the latter.

    Args:
        cell: any deterministic cell of the Flax contract.
        shape: shape of the inputs of one step.

    Returns:
        The carry: zeros, unless the cell says otherwise.
    """
    # Stock cells ask for a key even to make zeros.
    carry = cell.initialize_carry(shape, nnx.Rngs(0))
    dtype = getattr(cell, "dtype", None)
    if dtype is None or isinstance(cell, gs.nn.RecurrentCell):
        return carry
    return jax.tree.map(lambda x: x.astype(dtype), carry)
