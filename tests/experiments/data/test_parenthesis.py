import jax
import numpy as np
import pytest

from experiments.data import parenthesis_batch


def count_one_by_one(symbols):
    """Counts open brackets as a reader would."""
    counts, rows = [0, 0, 0], []
    for symbol in symbols:
        if symbol < 6:
            kind, closes = divmod(int(symbol), 2)
            counts[kind] = max(counts[kind] + (-1 if closes else 1), 0)
        rows.append([min(count, 5) for count in counts])
    return np.array(rows)


def test_counts_what_a_reader_counts():
    inputs, targets = parenthesis_batch(jax.random.key(0), batch=8, length=300)
    assert inputs.shape == (8, 300, 7)
    symbols = np.argmax(inputs, axis=-1)
    np.testing.assert_array_equal(np.sum(inputs, axis=-1), 1)
    for row, wanted in zip(symbols, targets, strict=True):
        np.testing.assert_array_equal(count_one_by_one(row), wanted)
    assert np.max(targets) == 5  # long enough for the ceiling to be reached


def test_symbols_are_uniform():
    inputs, _ = parenthesis_batch(jax.random.key(1), batch=400, length=100)
    frequency = np.mean(inputs, axis=(0, 1))
    np.testing.assert_allclose(frequency, 1 / 7, atol=4 * np.sqrt(6 / 49 / 40_000))


@pytest.mark.error_text
def test_rejects_an_empty_sequence():
    with pytest.raises(ValueError, match="`length` must be at least 1, got 0"):
        parenthesis_batch(jax.random.key(0), batch=3, length=0)
