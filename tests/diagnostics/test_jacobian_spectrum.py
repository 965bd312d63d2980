"""The spectrum of one step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.diagnostics import jacobian_spectrum
from tests.helpers import random_matrix


@pytest.mark.parametrize("size", [1, 7, 40])
def test_is_that_of_the_matrix(size):
    with jax.enable_x64(True):
        matrix = random_matrix(0, (size, size), jnp.float64)
        state = random_matrix(1, (size,), jnp.float64)
        found = jax.jit(
            lambda h: jacobian_spectrum(lambda h, _: jnp.tanh(matrix @ h), h)
        )(state)
    matrix, state = np.asarray(matrix), np.asarray(state)
    jacobian = (1 - np.tanh(matrix @ state) ** 2)[:, None] * matrix
    values = np.linalg.svd(jacobian, compute_uv=False)
    radius = np.max(np.abs(np.linalg.eigvals(jacobian)))
    np.testing.assert_allclose(found.singular_values, values, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found.spectral_radius, radius, rtol=1e-9)


def test_of_a_large_state_needs_no_matrix():
    size = 600
    scales = jnp.linspace(0.1, 2.0, size).at[3].set(-3.0)
    found = jax.jit(lambda h: jacobian_spectrum(lambda h, _: scales * h, h))(
        jnp.zeros(size)
    )
    assert found.singular_values.shape == (1,)
    np.testing.assert_allclose(found.singular_values, [3.0], rtol=1e-3)
    np.testing.assert_allclose(found.spectral_radius, 3.0, rtol=1e-2)


def test_of_a_pair_of_states_is_that_of_both_together():
    def swap(carry, inputs):
        first, second = carry
        return 2 * second + inputs, 0.5 * first

    found = jacobian_spectrum(swap, (jnp.zeros(3), jnp.zeros(3)), jnp.ones(3))
    np.testing.assert_allclose(found.singular_values, [2.0] * 3 + [0.5] * 3, rtol=1e-6)
    np.testing.assert_allclose(found.spectral_radius, 1.0, rtol=1e-5)


@pytest.mark.parametrize("size", [3, 600])
def test_what_is_not_finite_stays_so(size):
    found = jacobian_spectrum(lambda h, _: h * h, jnp.full(size, jnp.nan))
    assert np.all(np.isnan(found.singular_values))
    assert np.isnan(found.spectral_radius)
