"""The denoise problem: repeat the symbols that were scattered among noise."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

SYMBOLS = 10
ALPHABET = 9
CLASSES = ALPHABET + 1  # the symbols, and last the blank


def denoise_batch(
    key: Array, *, batch: int, length: int
) -> tuple[Float[Array, "batch time 11"], Int[Array, "batch time"]]:
    """Draws sequences of the denoise problem.

    Ten symbols out of nine stand at random places of the first `length` + 9 time steps,
    and noise at the others; then comes a marker, and ten steps of noise, during which
    the symbols are to be repeated in their order; everywhere else the answer is a
    blank. A sequence has `length` + 20 time steps.

    Args:
        key: a random key. The same key gives the same sequences.
        batch: how many sequences.
        length: T, at least 1.

    Returns:
        The inputs, one-hot over nine symbols, noise and marker; and the targets, a
        class at each time step, where class 9 is the blank.

    Raises:
        ValueError: if `length` leaves no room for ten symbols.

    References:
        Jing, Gulcehre, Peurifoy, Shen, Tegmark, Soljačić & Bengio, "Gated Orthogonal
        Recurrent Units", Neural Computation 2019, arXiv:1706.02761. Here the ten places
        differ; the code of Mucllari et al. 2022 draws them with replacement, which
        loses a symbol in some of its sequences, and has no input for its marker.
    """
    if length < 1:
        raise ValueError(f"`length` must be at least 1, got {length}.")
    symbol_key, place_key = jax.random.split(key)
    symbols = jax.random.randint(symbol_key, (batch, SYMBOLS), 0, ALPHABET)
    room = length + SYMBOLS - 1
    # The places of the ten largest of as many random numbers as there are steps.
    places = jax.lax.top_k(jax.random.uniform(place_key, (batch, room)), SYMBOLS)[1]
    noise, marker = ALPHABET, ALPHABET + 1
    rows = jnp.arange(batch)[:, None]
    inputs = jnp.full((batch, room + 1 + SYMBOLS), noise)
    inputs = inputs.at[rows, jnp.sort(places, axis=1)].set(symbols)
    inputs = inputs.at[:, room].set(marker)
    blanks = jnp.full((batch, room + 1), CLASSES - 1)
    return (
        jax.nn.one_hot(inputs, ALPHABET + 2),
        jnp.concatenate([blanks, symbols], axis=1),
    )


def denoise_baseline(length: int) -> float:
    """Returns the mean cross-entropy, in nats, of a memory that keeps nothing."""
    return SYMBOLS * math.log(ALPHABET) / (length + 2 * SYMBOLS)
