import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs


def make(shape=(5, 3), **options):
    return gs.nn.SpectralNormalized(shape, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_norm_is_exact_at_every_scale(scale):
    parametrization = make(maximum=1.5)
    parametrization.weight[...] = scale * parametrization.weight[...]
    norm = np.linalg.norm(np.asarray(parametrization(), np.float64), 2)
    np.testing.assert_allclose(norm, 1.5, rtol=1e-5)


def test_zero_stays_zero_with_a_finite_gradient():
    parametrization = make()
    parametrization.weight[...] = jnp.zeros((5, 3))
    np.testing.assert_array_equal(parametrization(), 0.0)
    gradient = jax.grad(lambda p: jnp.sum((p() - 1) ** 2))(parametrization)
    assert np.all(np.isfinite(gradient.weight[...]))


def test_calling_twice_is_the_same_as_once():
    parametrization = make()
    np.testing.assert_array_equal(parametrization(), parametrization())


def test_gradient_has_no_part_along_the_weight():
    # The matrix does not depend on the length of the coordinates.
    parametrization = make()
    gradient = jax.grad(lambda p: jnp.sum(p() ** 3))(parametrization).weight[...]
    along = jnp.vdot(gradient, parametrization.weight[...])
    np.testing.assert_allclose(along, 0.0, atol=1e-6)


def test_nearest_matrix_of_the_norm():
    long, short = jnp.diag(jnp.array([3.0, 0.5])), jnp.diag(jnp.array([0.4, 0.1]))
    parametrization = make((2, 2))
    parametrization.assign(long, project=True)
    np.testing.assert_allclose(parametrization(), np.diag([1.0, 0.5]), atol=1e-6)
    parametrization.assign(short, project=True)
    np.testing.assert_allclose(parametrization(), np.diag([1.0, 0.1]), atol=1e-6)
    parametrization.assign(jnp.zeros((2, 2)))
    np.testing.assert_array_equal(parametrization(), 0.0)


@pytest.mark.error_text
def test_rejects_other_norms():
    with pytest.raises(ValueError, match="`maximum` must be a finite number"):
        make(maximum=-1.0)
    with pytest.raises(ValueError, match=r"residual 2\.00e\+00"):
        make((2, 2)).assign(3 * jnp.eye(2))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e18, 1e25])
def test_gradient_is_that_of_any_other_scale(scale):
    usual = gs.nn.SpectralNormalized((3, 3), rngs=nnx.Rngs(0))
    other = nnx.clone(usual)
    other.weight[...] = scale * usual.weight[...]
    direction = jax.random.normal(jax.random.key(3), (3, 3))
    gradients = [
        jax.grad(lambda p: jnp.sum(p() * direction))(p).weight[...]
        for p in (usual, other)
    ]
    rescaled = scale * np.asarray(gradients[1], np.float64)
    np.testing.assert_allclose(rescaled, gradients[0], atol=1e-5)
