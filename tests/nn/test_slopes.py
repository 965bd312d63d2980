import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.nn._slopes import slope_from_value

X = jnp.array([-3.0, -0.5, 0.0, 0.7, 4.0])


@pytest.mark.parametrize(
    "activation_fn", [jnp.tanh, jax.nn.relu, jax.nn.leaky_relu, jax.nn.sigmoid]
)
def test_slope_is_the_derivative(activation_fn):
    from_value = slope_from_value(activation_fn)
    assert from_value is not None
    slope = from_value(activation_fn(X))
    expected = jax.vmap(jax.grad(activation_fn))(X)
    np.testing.assert_allclose(slope, expected, atol=1e-6)
    assert slope.dtype == X.dtype
    assert np.all((slope >= 0) & (slope <= 1))


def test_other_activations_are_not_known():
    assert slope_from_value(jnp.sin) is None
