import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.nn import modrelu
from tests.helpers import check_grads, random_matrix


def textbook(x, bias):
    """Computes x / |x| max(|x| + b, 0), for x with no zero in it."""
    x = np.asarray(x)
    return x / np.abs(x) * np.maximum(np.abs(x) + np.asarray(bias), 0)


def test_is_the_textbook_formula(any_dtype):
    x = random_matrix(0, (4, 5), any_dtype)
    bias = jnp.linspace(-2, 1, 5).astype(x.real.dtype)
    y = modrelu(x, bias)
    assert y.dtype == any_dtype
    eps = float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(y, textbook(x, bias), atol=8 * eps)


def test_zero_stays_zero_with_a_finite_gradient(any_dtype):
    x = jnp.zeros(3, any_dtype)
    bias = jnp.array([-1.0, 0.0, 1.0], x.real.dtype)
    value, pull = jax.vjp(modrelu, x, bias)
    np.testing.assert_array_equal(value, x)
    for cotangent in pull(jnp.ones_like(x)):
        np.testing.assert_array_equal(cotangent, np.zeros(3))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_is_exactly_zero_under_the_threshold(dtype):
    x = jnp.array([1.0, -1.0, 0.5], dtype)
    np.testing.assert_array_equal(modrelu(x, jnp.float32(-1)), np.zeros(3))


def test_real_derivative_is_zero_or_one():
    # The last entry stands on the kink.
    x, bias = jnp.array([2.0, -2.0, 0.5, 1.0]), jnp.float32(-1)
    slope, in_bias = jax.vmap(jax.grad(modrelu, (0, 1)), (0, None))(x, bias)
    np.testing.assert_array_equal(slope, [1, 1, 0, 0])
    np.testing.assert_array_equal(in_bias, [1, -1, 0, 0])


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
def test_gradient(dtype):
    with jax.enable_x64(True):
        x = random_matrix(0, (3, 4), dtype)
        bias = jnp.array([-0.1, 0.0, 0.2, 0.3])
        check_grads(modrelu, (x, bias), order=2)


def test_nan_stays_nan():
    for dtype in (jnp.float32, jnp.complex64):
        assert np.isnan(modrelu(jnp.array(jnp.nan, dtype), jnp.float32(0)))


def test_the_dtype_is_that_of_the_numbers():
    with jax.numpy_dtype_promotion("standard"):
        out = modrelu(jnp.ones(3, jnp.bfloat16), jnp.zeros(3))
    assert out.dtype == jnp.bfloat16
