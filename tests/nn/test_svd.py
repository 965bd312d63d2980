import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs


def singular_values(matrix):
    return np.linalg.svd(np.asarray(matrix, np.complex128), compute_uv=False)


def make(shape=(6, 6), **options):
    return gs.nn.SVD(shape, rngs=nnx.Rngs(0), **options)


def test_starts_with_every_singular_value_at_the_center():
    np.testing.assert_allclose(singular_values(make(center=0.8)()), 0.8, rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 6), (7, 4), (4, 7)])
def test_spectrum_is_the_singular_values(shape):
    parametrization = make(shape, center=1.0, radius=0.3)
    raw = jnp.linspace(-4.0, 4.0, min(shape))
    parametrization.spectrum[...] = raw
    expected = 1.0 + 0.6 * (1 / (1 + np.exp(-raw)) - 0.5)
    np.testing.assert_allclose(
        singular_values(parametrization()), np.sort(expected)[::-1], rtol=1e-5
    )


def test_bounds_hold_for_huge_coordinates():
    parametrization = make(radius=0.1)
    parametrization.spectrum[...] = jnp.array([1e30, -1e30, 0, 5, -5, 1e4])
    values = singular_values(parametrization())
    assert values.max() <= 1.1 + 1e-5
    assert values.min() >= 0.9 - 1e-5


@pytest.mark.parametrize("shape", [(6, 6), (7, 4), (4, 7)])
def test_reaches_every_matrix_with_its_singular_values_inside(shape, any_dtype):
    draw = jax.random.normal(jax.random.key(0), shape, any_dtype)
    left, _, right = jnp.linalg.svd(draw, full_matrices=False)
    values = jnp.linspace(0.75, 1.25, min(shape)).astype(any_dtype)
    matrix = (left * values[None]) @ right
    parametrization = make(shape, radius=0.3, param_dtype=any_dtype)
    parametrization.assign(matrix)
    atol = 1e3 * float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(parametrization(), matrix, atol=atol)


def test_ends_of_the_interval_are_met_to_rounding():
    matrix = jnp.diag(jnp.array([0.9, 1.1, 1.0]))
    parametrization = make((3, 3), radius=0.1)
    parametrization.assign(matrix)
    np.testing.assert_allclose(parametrization(), matrix, atol=1e-6)
    gradient = jax.grad(lambda p: jnp.sum(p() ** 3))(parametrization)
    assert np.all(np.isfinite(gradient.spectrum[...]))


def test_no_radius_is_orthogonal_and_has_no_spectrum_to_train():
    parametrization = make(radius=0.0)
    parametrization.spectrum[...] = jnp.ones(6)
    np.testing.assert_allclose(singular_values(parametrization()), 1.0, rtol=1e-5)
    assert parametrization.singular_value_bounds == (1.0, 1.0)
    gradient = jax.grad(lambda p: jnp.sum(p() ** 3))(parametrization)
    np.testing.assert_array_equal(gradient.spectrum[...], 0.0)


def test_radius_above_the_center_keeps_the_upper_bound():
    parametrization = make(center=0.2, radius=0.5)
    parametrization.spectrum[...] = jnp.full(6, -20.0)
    assert parametrization.singular_value_bounds == (0.0, 0.7)
    np.testing.assert_allclose(singular_values(parametrization()), 0.3, rtol=1e-4)


def test_a_radius_of_the_center_holds_singular_values_down_to_zero():
    parametrization = make((4, 4), center=1.0, radius=1.0)
    matrix = jnp.diag(jnp.array([0.0, 0.5, 1.5, 2.0]))
    parametrization.assign(matrix)
    np.testing.assert_allclose(parametrization(), matrix, atol=1e-6)
    gradient = jax.grad(lambda p: jnp.sum(p() ** 3))(parametrization)
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))


def test_projection_cuts_the_singular_values():
    matrix = jnp.diag(jnp.array([0.2, 1.0, 3.0]))
    parametrization = make((3, 3), radius=0.1)
    parametrization.assign(matrix, project=True)
    np.testing.assert_allclose(parametrization(), np.diag([0.9, 1.0, 1.1]), atol=1e-6)


def test_counts_two_trapezoids_and_a_spectrum():
    # The published count at n = 128 with 16 + 16 reflectors, without input weights,
    # bias and read-out: (16 + 16 + 1) n - (16² + 16² - 16 - 16) / 2.
    parametrization = make((128, 128), reflectors=16)
    assert parametrization.free_parameters == 33 * 128 - (2 * 256 - 32) // 2


@pytest.mark.error_text
def test_rejects_intervals_that_are_none():
    for options, message in [
        ({"radius": -0.1}, "`radius` must be a finite number"),
        ({"center": float("nan")}, "`center` must be a finite number"),
        ({"reflectors": 7}, r"`reflectors` must be an integer in \[0, 6\], got 7"),
        ({"reflectors": 1.5}, "`reflectors` must be an integer"),
    ]:
        with pytest.raises(ValueError, match=message):
            make(**options)
    with pytest.raises(ValueError, match=r"residual 9\.00e-01"):
        make().assign(2 * jnp.eye(6))
    with pytest.raises(ValueError, match="has 2 reflectors on each side"):
        make(reflectors=2).assign(jnp.tri(6), project=True)
