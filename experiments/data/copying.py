"""The copying problem: repeat ten symbols after a long pause."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

ALPHABET = 8
CLASSES = ALPHABET + 1  # the symbols, and last the blank


def copying_batch(
    key: Array, *, batch: int, length: int, symbols: int = 10
) -> tuple[Float[Array, "batch time 10"], Int[Array, "batch time"]]:
    """Draws sequences of the copying problem.

    Some symbols out of eight, then `length` - 1 blanks, a delimiter, and a blank for
    each symbol, during which they are to be repeated; everywhere else the answer is a
    blank. A sequence has `length` + 2 `symbols` time steps. Whoever answers blanks, and
    guesses at the end, has a cross-entropy of `copying_baseline(length, symbols)`.

    Args:
        key: a random key. The same key gives the same sequences.
        batch: how many sequences.
        length: T, time steps between a symbol and its repetition, less `symbols`.
        symbols: how many are to be kept.

    Returns:
        The inputs, one-hot over eight symbols, blank and delimiter; and the targets, a
        class at each time step, where class 8 is the blank.

    Raises:
        ValueError: if `length` has no room for the delimiter, or there is no symbol.

    References:
        Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 1997;
        in this form Arjovsky, Shah & Bengio, "Unitary Evolution Recurrent Neural
        Networks", ICML 2016.
    """
    if length < 1:
        raise ValueError(f"`length` must be at least 1, the delimiter, got {length}.")
    if symbols < 1:
        raise ValueError(f"`symbols` must be at least 1, got {symbols}.")
    kept = jax.random.randint(key, (batch, symbols), 0, ALPHABET)
    blank, delimiter = ALPHABET, ALPHABET + 1
    pause = jnp.full((batch, length + symbols), blank)
    inputs = jnp.concatenate([kept, pause.at[:, length - 1].set(delimiter)], axis=1)
    targets = jnp.concatenate([pause, kept], axis=1)
    return jax.nn.one_hot(inputs, ALPHABET + 2), targets


def copying_baseline(length: int, symbols: int = 10) -> float:
    """Returns the mean cross-entropy, in nats, of a memory that keeps nothing."""
    return symbols * math.log(ALPHABET) / (length + 2 * symbols)
