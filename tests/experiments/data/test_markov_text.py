import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import conditional_entropy, markov_chain, markov_text

SYMBOLS, CONCENTRATION = 6, 0.5


@pytest.fixture(scope="module")
def chain():
    return markov_chain(jax.random.key(0), SYMBOLS, CONCENTRATION)


def test_what_follows_two_symbols_is_a_distribution(chain):
    assert chain.shape == (SYMBOLS,) * 3
    assert jnp.all(chain >= 0)
    np.testing.assert_allclose(jnp.sum(chain, axis=-1), 1, rtol=1e-5)


def test_the_text_follows_the_chain(chain):
    text = markov_text(jax.random.key(1), chain, 50_000)
    counts = np.zeros((SYMBOLS,) * 3)
    np.add.at(counts, (text[:-2], text[1:-1], text[2:]), 1)
    pairs = counts.sum(-1)
    frequent = pairs > 500
    found = counts[frequent] / pairs[frequent][:, None]
    assert frequent.sum() > 10
    spread = 5 * np.sqrt(0.25 / 500)
    np.testing.assert_allclose(found, np.asarray(chain)[frequent], atol=spread)


def test_whoever_knows_the_chain_has_the_conditional_entropy(chain):
    text = markov_text(jax.random.key(2), chain, 100_000)
    known = np.asarray(chain)[text[:-2], text[1:-1], text[2:]]
    assert -np.mean(np.log(known)) == pytest.approx(
        conditional_entropy(chain), rel=0.02
    )


def test_the_entropy_of_equal_chances_is_their_logarithm():
    even = jnp.full((4, 4, 4), 0.25)
    assert conditional_entropy(even) == pytest.approx(np.log(4))
    sure = jnp.broadcast_to(jnp.eye(4), (4, 4, 4))
    assert conditional_entropy(sure) == 0


def test_a_key_is_a_text(chain):
    first, again, other = (markov_text(jax.random.key(k), chain, 50) for k in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
