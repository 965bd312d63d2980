"""The parenthesis problem: count the brackets of each kind that are still open."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

KINDS = 3
NOISE = 2 * KINDS  # the symbol that is no bracket
MOST = 5


def parenthesis_batch(
    key: Array, *, batch: int, length: int
) -> tuple[Float[Array, "batch length 7"], Int[Array, "batch length 3"]]:
    """Draws sequences of the parenthesis problem.

    Each step holds one of ``( ) [ ] { } a``, all equally likely. The target at each
    step is the number of open brackets of each kind, at most 5; a closing bracket with
    none open counts for nothing.

    Args:
        key: a random key. The same key gives the same sequences.
        batch: how many sequences.
        length: time steps of each.

    Returns:
        The inputs, one-hot in the order above, and the three counts at each step.

    Raises:
        ValueError: if `length` is less than 1.

    References:
        Jing, Gulcehre, Peurifoy, Shen, Tegmark, Soljačić & Bengio, "Gated Orthogonal
        Recurrent Units", Neural Computation 2019, arXiv:1706.02761.
    """
    if length < 1:
        raise ValueError(f"`length` must be at least 1, got {length}.")
    symbols = jax.random.randint(key, (batch, length), 0, NOISE + 1)
    kinds = jnp.arange(KINDS)[None, None]
    opening = (symbols[..., None] == 2 * kinds).astype(jnp.int32)
    closing = (symbols[..., None] == 2 * kinds + 1).astype(jnp.int32)
    balance = jnp.cumsum(opening - closing, axis=1)
    # What was closed too often so far is the depth below zero that was reached.
    wasted = jnp.minimum(jax.lax.cummin(balance, axis=1), 0)
    return jax.nn.one_hot(symbols, NOISE + 1), jnp.minimum(balance - wasted, MOST)
