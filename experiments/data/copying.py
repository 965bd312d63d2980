"""The copying problem: repeat ten symbols after a long pause."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

SYMBOLS = 10
ALPHABET = 8
CLASSES = ALPHABET + 1  # the symbols, and last the blank


def copying_batch(
    key: Array, *, batch: int, length: int
) -> tuple[Float[Array, "batch time 10"], Int[Array, "batch time"]]:
    """Draws sequences of the copying problem.

    Ten symbols out of eight, then `length` - 1 blanks, a delimiter, and ten blanks,
    during which the symbols are to be repeated; everywhere else the answer is a blank.
    A sequence has `length` + 20 time steps. Whoever answers blanks, and guesses at the
    end, has a cross-entropy of `copying_baseline(length)`.

    Args:
        key: a random key. The same key gives the same sequences.
        batch: how many sequences.
        length: T, time steps between the first symbol to be kept and its repetition,
            less ten.

    Returns:
        The inputs, one-hot over eight symbols, blank and delimiter; and the targets, a
        class at each time step, where class 8 is the blank.

    Raises:
        ValueError: if `length` has no room for the delimiter.

    References:
        Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 1997;
        in this form Arjovsky, Shah & Bengio, "Unitary Evolution Recurrent Neural
        Networks", ICML 2016.
    """
    if length < 1:
        raise ValueError(f"`length` must be at least 1, the delimiter, got {length}.")
    symbols = jax.random.randint(key, (batch, SYMBOLS), 0, ALPHABET)
    blank, delimiter = ALPHABET, ALPHABET + 1
    pause = jnp.full((batch, length + SYMBOLS), blank)
    inputs = jnp.concatenate([symbols, pause.at[:, length - 1].set(delimiter)], axis=1)
    targets = jnp.concatenate([pause, symbols], axis=1)
    return jax.nn.one_hot(inputs, ALPHABET + 2), targets


def copying_baseline(length: int) -> float:
    """Returns the mean cross-entropy, in nats, of a memory that keeps nothing."""
    return SYMBOLS * math.log(ALPHABET) / (length + 2 * SYMBOLS)
