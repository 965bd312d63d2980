import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import RATIO_LIMIT, orthogonality_ratio
from tests.nn.test_cayley import REACHED_BY_SCALING


@pytest.mark.parametrize("n", [1, 2, 5, 16, 65])
@pytest.mark.parametrize("name", REACHED_BY_SCALING)
def test_full_set_reaches_every_orthogonal_matrix(name, n):
    q = REACHED_BY_SCALING[name](n)
    parametrization = gs.nn.Householder((n, n), rngs=nnx.Rngs(0))
    parametrization.assign(q)
    np.testing.assert_allclose(parametrization(), q, atol=n * 1e-6)
    assert orthogonality_ratio(parametrization()) <= RATIO_LIMIT


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_tall_and_wide_reach_every_stiefel_matrix(shape, dtype):
    draw = jax.random.normal(jax.random.key(0), (6, 4), dtype)
    q = jnp.linalg.qr(draw)[0]
    q = q if shape == (6, 4) else q.mT
    parametrization = gs.nn.Householder(shape, param_dtype=dtype, rngs=nnx.Rngs(0))
    parametrization.assign(q)
    np.testing.assert_allclose(parametrization(), q, atol=5e-6)


@pytest.mark.parametrize("reflectors", [0, 1, 2, 5])
def test_reflectors_set_the_determinant(reflectors):
    parametrization = gs.nn.Householder((5, 5), reflectors=reflectors, rngs=nnx.Rngs(0))
    expected = (-1.0) ** reflectors
    np.testing.assert_allclose(np.linalg.det(parametrization()), expected, rtol=1e-5)


@pytest.mark.parametrize("reflectors", [0, 1, 3])
def test_few_reflectors_reach_every_diagonal(reflectors):
    parametrization = gs.nn.Householder((5, 5), reflectors=reflectors, rngs=nnx.Rngs(0))
    diagonal = jnp.diag(jnp.array([1.0, -1.0, 1.0, -1.0, -1.0]))
    parametrization.assign(diagonal)
    np.testing.assert_allclose(parametrization(), diagonal, atol=1e-6)


@pytest.mark.parametrize("determinant", [1.0, -1.0])
def test_one_reflector_less_than_rows_reaches_every_orthogonal_matrix(determinant):
    q = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (5, 5)))[0]
    q = q.at[:, 0].multiply(determinant * jnp.linalg.det(q))
    parametrization = gs.nn.Householder((5, 5), reflectors=4, rngs=nnx.Rngs(0))
    parametrization.assign(q)
    np.testing.assert_allclose(parametrization(), q, atol=2e-6)


@pytest.mark.error_text
def test_too_few_reflectors_are_named():
    q = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (5, 5)))[0]
    parametrization = gs.nn.Householder((5, 5), reflectors=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="has 2 reflectors; every .* needs 4"):
        parametrization.assign(q)
    with pytest.raises(ValueError, match="has 2 reflectors; every .* needs 4"):
        parametrization.assign(jnp.tri(5), project=True)
    with pytest.raises(ValueError, match=r"`reflectors` must .* \[0, 5\], got 6"):
        gs.nn.Householder((5, 5), reflectors=6, rngs=nnx.Rngs(0))


def test_counts_the_lower_trapezoid():
    parametrization = gs.nn.Householder((5, 5), reflectors=2, rngs=nnx.Rngs(0))
    assert parametrization.free_parameters == 5 + 4


def test_zero_reflectors_are_identities_with_a_finite_gradient():
    parametrization = gs.nn.Householder((4, 4), rngs=nnx.Rngs(0))
    parametrization.vectors[...] = jnp.zeros((4, 4))
    np.testing.assert_array_equal(parametrization(), np.eye(4))
    gradient = jax.grad(lambda p: jnp.sum(p() ** 3))(parametrization)
    assert np.all(np.isfinite(gradient.vectors[...]))


def test_single_entry_is_taken_back_exactly():
    parametrization = gs.nn.Householder((1, 1), rngs=nnx.Rngs(0))
    for sign in [1.0, -1.0]:
        parametrization.assign(jnp.array([[sign]]))
        assert float(parametrization()[0, 0]) == sign


def test_single_entry_is_a_sign():
    parametrization = gs.nn.Householder((1, 1), rngs=nnx.Rngs(0))
    assert float(parametrization()[0, 0]) == -1.0
    gradient = jax.grad(lambda p: p()[0, 0])(parametrization)
    np.testing.assert_array_equal(gradient.vectors[...], 0.0)


@pytest.mark.error_text
@pytest.mark.parametrize("kind", [gs.nn.Householder, gs.nn.SVD])
def test_coordinates_of_another_number_of_reflectors_are_named(kind):
    few = kind((5, 5), reflectors=2, rngs=nnx.Rngs(0))
    many = kind((5, 5), rngs=nnx.Rngs(0))
    nnx.update(many, nnx.state(few))
    with pytest.raises(ValueError, match="of 5 reflectors holds .* one with 2"):
        many()
