import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.data import copying_baseline, copying_batch


@pytest.mark.parametrize("length", [1, 2, 100])
def test_asks_for_the_first_symbols_after_the_delimiter(length):
    inputs, targets = copying_batch(jax.random.key(0), batch=20, length=length)
    assert inputs.shape == (20, length + 20, 10)
    assert targets.shape == (20, length + 20)
    symbols = np.argmax(inputs, axis=-1)
    np.testing.assert_array_equal(np.sum(inputs, axis=-1), 1)
    np.testing.assert_array_equal(targets[:, -10:], symbols[:, :10])
    np.testing.assert_array_equal(targets[:, :-10], 8)
    assert symbols[:, :10].max() < 8
    rest = symbols[:, 10:]
    np.testing.assert_array_equal(np.argmax(rest == 9, axis=1), length - 1)
    np.testing.assert_array_equal(np.sum(rest == 9, axis=1), 1)
    np.testing.assert_array_equal(np.sum(rest == 8, axis=1), length + 9)


def test_symbols_are_uniform():
    inputs, _ = copying_batch(jax.random.key(1), batch=4000, length=1)
    frequency = np.mean(np.asarray(inputs)[:, :10, :8], axis=(0, 1))
    np.testing.assert_allclose(frequency, 1 / 8, atol=4 * np.sqrt(7 / 64 / 40_000))


def test_baseline_is_the_loss_of_a_memory_that_keeps_nothing():
    _, targets = copying_batch(jax.random.key(2), batch=5, length=30)
    sure = jax.nn.one_hot(jnp.full((5, 40), 8), 9)
    guess = jnp.full((5, 10, 9), 1 / 8).at[..., 8].set(0)
    answers = jnp.concatenate([sure, guess], axis=1)
    given = jnp.take_along_axis(answers, targets[..., None], axis=-1)
    np.testing.assert_allclose(-np.mean(np.log(given)), copying_baseline(30), rtol=1e-6)


def test_is_a_function_of_the_key():
    first, _ = copying_batch(jax.random.key(3), batch=3, length=5)
    again, _ = copying_batch(jax.random.key(3), batch=3, length=5)
    other, _ = copying_batch(jax.random.key(4), batch=3, length=5)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.error_text
def test_rejects_a_length_without_a_delimiter():
    with pytest.raises(ValueError, match="`length` must be at least 1.* got 0"):
        copying_batch(jax.random.key(0), batch=3, length=0)
