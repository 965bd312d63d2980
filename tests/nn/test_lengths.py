import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.nn._lengths import check_lengths, flip, step_mask

LENGTHS = jnp.array([3, 0, 4])
SERIES = jnp.array([[1, 2, 3, 0], [0, 0, 0, 0], [4, 5, 6, 7]])
TURNED = np.array([[3, 2, 1, 0], [0, 0, 0, 0], [7, 6, 5, 4]])


def test_mask_and_flip_batch_first():
    np.testing.assert_array_equal(step_mask(LENGTHS, 4, 1), SERIES > 0)
    np.testing.assert_array_equal(flip(SERIES, LENGTHS, 1), TURNED)
    np.testing.assert_array_equal(flip(SERIES, None, 1), SERIES[:, ::-1])


def test_mask_and_flip_time_first():
    np.testing.assert_array_equal(step_mask(LENGTHS, 4, 0), SERIES.T > 0)
    series = jnp.stack([SERIES.T, 2 * SERIES.T], -1)
    np.testing.assert_array_equal(flip(series, LENGTHS, 0)[..., 1], 2 * TURNED.T)


def test_traced_lengths_are_clamped():
    clamp = jax.jit(lambda lengths: check_lengths(lengths, 4, (2,)))
    np.testing.assert_array_equal(clamp(jnp.array([-1, 9])), [0, 4])


@pytest.mark.error_text
@pytest.mark.parametrize("bad", [[-1, 2], [2, 5]])
def test_rejects_lengths_out_of_range(bad):
    message = r"`seq_lengths` must lie in \[0, 4\], the length of the inputs, got"
    with pytest.raises(ValueError, match=message):
        check_lengths(jnp.array(bad), 4, (2,))


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("bad", "got"), [([1], r"int32 of shape \(1,\)"), ([1.0, 2.0], "float32 of shape")]
)
def test_rejects_other_shapes_and_dtypes(bad, got):
    message = rf"`seq_lengths` must be integers of shape \(2,\), got {got}"
    with pytest.raises(ValueError, match=message):
        check_lengths(jnp.array(bad), 4, (2,))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.uint32, np.int64])
def test_narrow_and_unsigned_integers_count_as_far_as_others(kind):
    lengths = np.array([100, 0], kind)
    found = check_lengths(lengths, 300, (2,))
    np.testing.assert_array_equal(step_mask(found, 300, 1).sum(axis=1), [100, 0])
    outputs = np.zeros((2, 300), np.int32)
    outputs[0, :100] = np.arange(1, 101)
    turned = flip(jnp.asarray(outputs), found, 1)
    np.testing.assert_array_equal(turned[0, :100], np.arange(100, 0, -1))
    np.testing.assert_array_equal(turned[0, 100:], 0)
    traced = jax.jit(lambda lengths: check_lengths(lengths, 300, (2,)))(lengths)
    np.testing.assert_array_equal(traced, [100, 0])
