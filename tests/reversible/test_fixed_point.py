import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.reversible._fixed_point import FixedPoint


@pytest.fixture
def fixed(dtype):
    wide = dtype == jnp.float64
    return FixedPoint(wide, 52 if wide else 24)


def test_limits(fixed, dtype):
    assert fixed.limit == (2048 if dtype == jnp.float64 else 128)
    assert fixed.real == dtype
    assert fixed.signed.itemsize == fixed.unsigned.itemsize == 4 * fixed.taped.itemsize


def test_numbers_on_the_grid_come_back(fixed, dtype):
    numbers = jnp.asarray(
        [0.0, 1.5, -2.25, 2.0**-fixed.bits, -3 * 2.0**-fixed.bits], dtype
    )
    np.testing.assert_array_equal(fixed.to_float(fixed.quantize(numbers)), numbers)


def test_others_are_rounded_to_the_nearest(fixed, dtype):
    unit = 2.0**-fixed.bits
    numbers = jnp.asarray([1 / 3, -0.7], dtype) * jnp.asarray(1e-3, dtype)
    found = fixed.to_float(fixed.quantize(numbers))
    np.testing.assert_allclose(found, numbers, rtol=0, atol=unit / 2)


def test_what_is_held(fixed, dtype):
    numbers = jnp.asarray([0, fixed.limit, -fixed.limit, np.nan, np.inf, 100], dtype)
    found = fixed.holds(numbers)
    np.testing.assert_array_equal(found, [True, False, False, False, False, True])
