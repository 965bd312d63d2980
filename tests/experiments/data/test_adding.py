import jax
import numpy as np
import pytest

from experiments.data import TRIVIAL_ERROR, adding_batch


@pytest.mark.parametrize("length", [2, 3, 7, 200])
def test_marks_one_step_of_each_half_and_asks_for_the_sum(length):
    inputs, targets = adding_batch(jax.random.key(0), batch=50, length=length)
    assert inputs.shape == (50, length, 2)
    assert targets.shape == (50, 1)
    numbers, marker = np.moveaxis(np.asarray(inputs), -1, 0)
    half = length // 2
    assert set(np.unique(marker)) <= {0, 1}
    np.testing.assert_array_equal(marker[:, :half].sum(axis=1), 1)
    np.testing.assert_array_equal(marker[:, half:].sum(axis=1), 1)
    np.testing.assert_allclose((numbers * marker).sum(axis=1), targets[:, 0], rtol=1e-6)


def test_numbers_and_markers_are_uniform():
    inputs, _ = adding_batch(jax.random.key(1), batch=4000, length=10)
    numbers, marker = np.moveaxis(np.asarray(inputs), -1, 0)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    # Four standard deviations of the mean of 40,000 numbers, of 4,000 places.
    assert abs(numbers.mean() - 0.5) < 4 / np.sqrt(12 * 40_000)
    np.testing.assert_allclose(marker.mean(axis=0), 0.2, atol=4 * 0.4 / np.sqrt(4000))


def test_the_trivial_answer_has_the_trivial_error():
    _, targets = adding_batch(jax.random.key(2), batch=20_000, length=4)
    errors = (np.asarray(targets) - 1) ** 2
    spread = errors.std() / np.sqrt(errors.size)
    assert abs(errors.mean() - TRIVIAL_ERROR) < 4 * spread


def test_is_a_function_of_the_key():
    first = adding_batch(jax.random.key(3), batch=3, length=5)
    again = jax.jit(lambda key: adding_batch(key, batch=3, length=5))(jax.random.key(3))
    other = adding_batch(jax.random.key(4), batch=3, length=5)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.error_text
@pytest.mark.parametrize("length", [1, 0, -3])
def test_rejects_lengths_without_two_halves(length):
    with pytest.raises(ValueError, match=f"`length` must be at least 2.* got {length}"):
        adding_batch(jax.random.key(0), batch=3, length=length)
