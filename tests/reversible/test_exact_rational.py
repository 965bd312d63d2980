import random
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.reversible import ExactRational


@pytest.fixture(params=[32, 64])
def width(request):
    with jax.enable_x64(request.param == 64):
        yield request.param


def naive(c, i, n, d):
    """The documented map in integers of unlimited length."""
    total = c * n + i % n
    return total // d, i // n * d + total % d


def test_is_the_documented_map(width):
    rng = random.Random(0)
    limit = 2 ** (width // 2)
    d = [rng.randint(2, limit) for _ in range(500)]
    n = [rng.randint(1, high - 1) for high in d]
    c = [rng.randrange(-(2 ** (width - 1)), 2 ** (width - 1)) for _ in range(500)]
    # Buffers as large as there is room for.
    i = [rng.randrange((2**width // b - 1) * a) for a, b in zip(n, d, strict=True)]
    signed, unsigned = jnp.dtype(f"int{width}"), jnp.dtype(f"uint{width}")
    fraction = ExactRational(jnp.asarray(n, unsigned), jnp.asarray(d, unsigned))
    value, buffer = jnp.asarray(c, signed), jnp.asarray(i, unsigned)
    product, kept = fraction.multiply(value, buffer)
    for k in range(500):
        expected = naive(c[k], i[k], n[k], d[k])
        assert (int(product[k]), int(kept[k])) == expected
        assert abs(expected[0] - Fraction(c[k] * n[k], d[k])) < 1
    again, restored = fraction.divide(product, kept)
    np.testing.assert_array_equal(again, value)
    np.testing.assert_array_equal(restored, buffer)


def test_products_and_sums_in_any_order_are_undone(width):
    rng = np.random.default_rng(1)
    signed, unsigned = jnp.dtype(f"int{width}"), jnp.dtype(f"uint{width}")
    value = start = jnp.asarray(rng.integers(-(2**20), 2**20, 100), signed)
    buffer = jnp.zeros(100, unsigned)
    fractions = [ExactRational(9, 10), ExactRational(2, 3), ExactRational(65535, 65536)]
    history = []
    for _ in range(25):
        fraction = fractions[rng.integers(3)]
        added = jnp.asarray(rng.integers(-(2**18), 2**18, 100), signed)
        value, buffer = fraction.multiply(value + added, buffer)
        history.append((fraction, added))
    assert np.any(buffer > 2**4)
    for fraction, added in reversed(history):
        value, buffer = fraction.divide(value, buffer)
        value = value - added
    np.testing.assert_array_equal(value, start)
    np.testing.assert_array_equal(buffer, 0)


def test_nearest_fraction(dtype):
    largest = 2**32 if dtype == jnp.float64 else 2**16
    known = {0.5: (1, 2), 0.9: (9, 10), 0.99: (99, 100), 0.95: (19, 20), 0.3: (3, 10)}
    numbers = np.random.default_rng(0).uniform(2**-7, 1 - 2**-16, 300)
    numbers = np.concatenate([
        list(known),
        [2**-7, 1 - 2**-16, 0.5 + 0.2 / largest],
        numbers,
    ]).astype(dtype)
    found = ExactRational.nearest(jnp.asarray(numbers))
    pairs = list(
        zip(
            np.asarray(found.numerator).tolist(),
            np.asarray(found.denominator).tolist(),
            strict=True,
        )
    )
    errors = []
    assert pairs[: len(known)] == list(known.values())
    for number, (n, d) in zip(numbers, pairs, strict=True):
        exact = Fraction(float(number))
        assert 0 < n < d <= largest
        errors.append(abs(exact - Fraction(n, d)))
        assert errors[-1] == abs(exact - exact.limit_denominator(d))
    # Only next to a fraction of small denominator are there no others: here 1/2.
    assert np.median(errors) < 4 / largest**2
    assert max(errors) < 1 / (2 * largest)


def test_nearest_is_the_same_under_jit_and_for_low_precision():
    numbers = jnp.asarray([0.9, 0.7, 0.123])
    eager = ExactRational.nearest(numbers)
    traced = jax.jit(ExactRational.nearest)(numbers)
    np.testing.assert_array_equal(eager.numerator, traced.numerator)
    low = ExactRational.nearest(jnp.asarray(0.75, jnp.bfloat16))
    assert (int(low.numerator), int(low.denominator)) == (3, 4)


def test_what_a_product_forgets():
    assert float(ExactRational(9, 10).bits) == pytest.approx(np.log2(10 / 9))
    nearest = ExactRational.nearest(jnp.asarray([0.5, 0.98]))
    np.testing.assert_allclose(nearest.bits, np.log2([2, 1 / 0.98]), rtol=1e-5)


@pytest.mark.parametrize("fraction", [(0, 2), (3, 3), (5, 4), (1, 2**16 + 1)])
def test_refuses_what_is_no_fraction(fraction):
    value, buffer = jnp.ones(2, jnp.int32), jnp.zeros(2, jnp.uint32)
    for method in ("multiply", "divide"):
        with pytest.raises(ValueError, match="must satisfy 1 <= numerator < denomin"):
            getattr(ExactRational(*fraction), method)(value, buffer)


def test_refuses_other_dtypes():
    with pytest.raises(
        ValueError, match="`value` and `buffer` must be int32 and uint32"
    ):
        ExactRational(1, 2).multiply(jnp.ones(2, jnp.int32), jnp.zeros(2, jnp.int32))
