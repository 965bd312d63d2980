import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.linalg._unit_triangular import invert_unit_upper
from tests.helpers import random_matrix


def assert_inverts(n, dtype):
    x = random_matrix(n, (2, n, n), dtype) / n
    inverse = jax.jit(invert_unit_upper)(x)
    assert inverse.dtype == dtype
    np.testing.assert_array_equal(inverse, np.triu(inverse))
    expected = np.linalg.inv(np.eye(n) + np.triu(np.asarray(x, np.complex128), 1))
    atol = 10 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(inverse, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("n", [1, 8, 9])
def test_inverts_every_size(n):
    assert_inverts(n, jnp.float32)


def test_inverts_in_every_dtype(any_dtype):
    assert_inverts(33, any_dtype)


def test_is_accurate_where_powers_grow():
    # The inverse alternates between 2 and -2, the powers of N reach 1e20.
    strict = 2 * jnp.triu(jnp.ones((64, 64)), 1)
    strict = strict * (1 - 1e-3 * jax.random.uniform(jax.random.key(0), (64, 64)))
    inverse = jax.jit(invert_unit_upper)(strict)
    expected = np.linalg.inv(np.eye(64) + np.asarray(strict, np.float64))
    np.testing.assert_allclose(inverse, expected, rtol=0, atol=1e-4)


def test_derivative_is_that_of_the_inverse():
    def derivative(upper, direction):
        return jax.jvp(invert_unit_upper, (upper,), (direction,))[1]

    with jax.enable_x64(True):
        x = np.asarray(random_matrix(0, (2, 10, 10), jnp.float64))
        upper, direction = np.eye(10) + np.triu(x[0], 1) / 10, np.triu(x[1])
        inverse = np.linalg.inv(upper)
        expected = -inverse @ direction @ inverse
        found = jax.jit(derivative)(upper, direction)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
