import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import RATIO_LIMIT, orthogonality_ratio


def make(n=5, **options):
    return gs.nn.Exponential((n, n), rngs=nnx.Rngs(0), **options)


def test_turns_the_base_by_the_exponential(dtype, atol):
    parametrization = make(2, param_dtype=dtype)
    parametrization.assign(jnp.array([[0, 1], [1, 0]], dtype))
    parametrization.skew[...] = jnp.array([[0, 0], [0.3, 0]], dtype)
    turn = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    expected = np.array([[0, 1], [1, 0]]) @ turn
    np.testing.assert_allclose(parametrization(), expected, atol=atol)


@pytest.mark.parametrize("n", [1, 4, 5])
def test_base_takes_either_determinant(n):
    parametrization = make(n)
    parametrization.assign(-jnp.eye(n))
    np.testing.assert_allclose(parametrization(), -np.eye(n), atol=1e-6)


def test_refresh_moves_the_base_and_not_the_matrix():
    parametrization = make(16)
    draw = jax.random.normal(jax.random.key(0), (16, 16))
    parametrization.skew[...] = draw
    moved = gs.nn.refresh(parametrization)
    np.testing.assert_array_equal(moved.skew[...], 0.0)
    np.testing.assert_allclose(moved(), parametrization(), atol=1e-5)
    np.testing.assert_array_equal(parametrization.skew[...], draw)


def test_a_thousand_refreshes_do_not_wear_the_base():
    parametrization = make(16)
    step = 0.1 * jax.random.normal(jax.random.key(0), (16, 16))

    @jax.jit
    def move(parametrization):
        parametrization = nnx.clone(parametrization)
        parametrization.skew[...] = step
        return gs.nn.refresh(parametrization)

    for _ in range(1000):
        parametrization = move(parametrization)
    assert orthogonality_ratio(parametrization()) <= RATIO_LIMIT


def test_base_has_no_gradient():
    gradient = jax.grad(lambda p: jnp.sum(p() ** 3))(make())
    np.testing.assert_array_equal(gradient.base[...], 0.0)
    assert np.any(gradient.skew[...] != 0)
