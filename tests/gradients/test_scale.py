import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import gradients
from tests.helpers import check_grads, random_matrix

X = random_matrix(0, (3, 4), "float32")


@pytest.mark.parametrize("factor", [0.0, 0.25, 1.0, -2.0])
def test_the_value_stays_and_the_gradient_is_multiplied(factor, any_dtype):
    x = random_matrix(1, (3, 4), any_dtype)
    value, pull = jax.vjp(lambda x: gradients.scale_gradient(x, factor), x)
    np.testing.assert_array_equal(value, x)
    assert value.dtype == any_dtype
    cotangent = random_matrix(2, (3, 4), any_dtype)
    np.testing.assert_allclose(pull(cotangent)[0], factor * cotangent, rtol=1e-6)


def test_forward_mode_multiplies_the_tangent():
    value, change = jax.jvp(lambda x: gradients.scale_gradient(x, 0.5), (X,), (X,))
    np.testing.assert_array_equal(value, X)
    np.testing.assert_array_equal(change, X / 2)


def test_a_factor_for_each_entry():
    factor = jnp.arange(4.0)
    gradient = jax.grad(lambda x: jnp.sum(gradients.scale_gradient(x, factor)))(X)
    np.testing.assert_array_equal(gradient, np.broadcast_to(factor, (3, 4)))
    found = jax.grad(lambda f: jnp.sum(gradients.scale_gradient(X, f)))(factor)
    np.testing.assert_array_equal(found, np.zeros(4))


def test_a_factor_of_zero_drops_what_is_not_finite():
    def loss(x):
        return jnp.sum(jnp.log(gradients.scale_gradient(x, 0.0)))

    assert not np.isfinite(jax.grad(lambda x: jnp.log(x))(0.0))
    np.testing.assert_array_equal(jax.grad(loss)(jnp.zeros(3)), np.zeros(3))


def test_trees_may_hold_integers_and_keys():
    tree = {"x": X, "count": jnp.arange(3), "key": jax.random.key(0)}
    scaled = gradients.scale_gradient(tree, 0.5)
    assert scaled["key"] == tree["key"]
    np.testing.assert_array_equal(scaled["count"], tree["count"])


def test_reversal_is_a_negative_factor():
    def gradient(change):
        return jax.grad(lambda x: jnp.sum(change(x) ** 3))(X)

    plain = gradient(lambda x: x)
    np.testing.assert_array_equal(gradient(gradients.reverse_gradient), -plain)
    half = gradient(lambda x: gradients.reverse_gradient(x, 0.5))
    np.testing.assert_allclose(half, -plain / 2, rtol=1e-6)


def test_second_derivatives_pass_through_a_factor_of_one():
    def cube(x):
        return jnp.sum(gradients.scale_gradient(x, 1.0) ** 3)

    with jax.enable_x64(True):
        check_grads(cube, (random_matrix(0, (4,), "float64"),), order=2)
