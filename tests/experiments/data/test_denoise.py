import jax
import numpy as np
import pytest

from experiments.data import denoise_baseline, denoise_batch


@pytest.mark.parametrize("length", [1, 2, 100])
def test_asks_for_the_scattered_symbols_in_their_order(length):
    inputs, targets = denoise_batch(jax.random.key(0), batch=20, length=length)
    assert inputs.shape == (20, length + 20, 11)
    assert targets.shape == (20, length + 20)
    np.testing.assert_array_equal(np.sum(inputs, axis=-1), 1)
    symbols = np.argmax(inputs, axis=-1)
    np.testing.assert_array_equal(symbols[:, length + 9], 10)
    np.testing.assert_array_equal(np.sum(symbols == 10, axis=1), 1)
    np.testing.assert_array_equal(symbols[:, -10:], 9)
    np.testing.assert_array_equal(targets[:, :-10], 9)
    for row, wanted in zip(symbols, np.asarray(targets)[:, -10:], strict=True):
        np.testing.assert_array_equal(row[row < 9], wanted)


def test_places_are_uniform():
    inputs, _ = denoise_batch(jax.random.key(1), batch=4000, length=11)
    taken = np.mean(np.asarray(inputs)[:, :20, :9].sum(axis=-1), axis=0)
    np.testing.assert_allclose(taken, 0.5, atol=4 * 0.5 / np.sqrt(4000))


def test_baseline():
    np.testing.assert_allclose(denoise_baseline(200), 10 * np.log(9) / 220)


@pytest.mark.error_text
def test_rejects_a_length_without_room():
    with pytest.raises(ValueError, match="`length` must be at least 1, got 0"):
        denoise_batch(jax.random.key(0), batch=3, length=0)
