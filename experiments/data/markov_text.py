"""Text of a Markov chain of order two, of which the best perplexity is known."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def markov_chain(
    key: Array, symbols: int, concentration: float
) -> Float[Array, "symbols symbols symbols"]:
    """Draws P(next | last but one, last) from a Dirichlet distribution.

    Args:
        key: a random key.
        symbols: how many there are.
        concentration: of the distribution; below 1 few symbols can follow two others.

    Returns:
        The probabilities, the next symbol on the last axis.
    """
    shape = (symbols, symbols)
    return jax.random.dirichlet(key, jnp.full(symbols, concentration), shape)


def markov_text(
    key: Array, chain: Float[Array, "symbols symbols symbols"], length: int
) -> Int[np.ndarray, " length"]:
    """Draws a text.

    Args:
        key: a random key. The same key gives the same text.
        chain: see `markov_chain`.
        length: how many symbols.

    Returns:
        The symbols.
    """
    logits = jnp.log(chain)

    def advance(pair, key):
        symbol = jax.random.categorical(key, logits[pair[0], pair[1]])
        return (pair[1], symbol), symbol

    start = jnp.zeros((), int), jnp.zeros((), int)
    return np.asarray(jax.lax.scan(advance, start, jax.random.split(key, length))[1])


def conditional_entropy(chain: Float[Array, "symbols symbols symbols"]) -> float:
    """Computes the cross-entropy of whoever knows the chain, in nats a symbol.

    Args:
        chain: see `markov_chain`.

    Returns:
        The entropy of the next symbol, the mean over the pairs of a long text.
    """
    given = np.asarray(chain, float)
    pairs = np.full(given.shape[:2], 1 / given[..., 0].size)
    for _ in range(10_000):
        pairs = np.einsum("ab,abc->bc", pairs, given)
    safe = np.where(given > 0, given, 1)
    return float(-np.einsum("ab,abc,abc->", pairs, given, np.log(safe)))
