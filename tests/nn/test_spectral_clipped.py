import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs


def test_cuts_what_is_above_the_limit_and_keeps_the_rest():
    clipped = gs.nn.SpectralClipped((3, 3), maximum=1.5, rngs=nnx.Rngs(0))
    clipped.weight[...] = jnp.diag(jnp.array([3.0, 1.0, 0.5]))
    np.testing.assert_allclose(clipped(), np.diag([1.5, 1.0, 0.5]), atol=1e-6)
    inside = 0.1 * jnp.arange(9.0).reshape(3, 3)
    clipped.weight[...] = inside
    np.testing.assert_array_equal(clipped(), inside)


def test_no_gradient_raises_what_was_cut():
    clipped = gs.nn.SpectralClipped((2, 2), rngs=nnx.Rngs(0))
    clipped.weight[...] = jnp.diag(jnp.array([3.0, 0.5]))
    gradient = jax.grad(lambda clipped: jnp.trace(clipped()))(clipped)
    np.testing.assert_allclose(gradient.weight[...], np.diag([0.0, 1.0]), atol=1e-6)


@pytest.mark.error_text
def test_assigns_what_lies_inside_and_projects_what_does_not():
    clipped = gs.nn.SpectralClipped((2, 2), maximum=2.0, rngs=nnx.Rngs(0))
    clipped.assign(2 * jnp.eye(2))
    np.testing.assert_array_equal(clipped(), 2 * np.eye(2))
    with pytest.raises(ValueError, match="outside the set of SpectralClipped"):
        clipped.assign(3 * jnp.eye(2))
    clipped.assign(3 * jnp.eye(2), project=True)
    np.testing.assert_allclose(clipped(), 2 * np.eye(2), atol=1e-6)


def test_a_limit_of_zero_leaves_zero():
    clipped = gs.nn.SpectralClipped((2, 3), maximum=0.0, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(clipped(), np.zeros((2, 3)))
    gradient = jax.grad(lambda clipped: jnp.sum(clipped()))(clipped)
    np.testing.assert_array_equal(gradient.weight[...], np.zeros((2, 3)))


@pytest.mark.parametrize("maximum", [-1.0, float("nan"), float("inf")])
def test_refuses_what_is_no_limit(maximum):
    with pytest.raises(ValueError, match="`maximum` must"):
        gs.nn.SpectralClipped((2, 2), maximum=maximum, rngs=nnx.Rngs(0))
