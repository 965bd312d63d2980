import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs
from tests.helpers import check_grads, random_matrix
from tests.linalg.test_conv_singular_values import dense

SHAPES = [
    ((3, 2, 3), (1,)),
    ((5, 2, 2), (2,)),
    ((3, 2, 2, 2), (1, 1)),
    ((4, 3, 2, 3), (2, 1)),
]


@pytest.mark.parametrize(("shape", "strides"), SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_no_image_and_no_padding_exceeds_it(shape, strides, seed):
    kernel = random_matrix(seed, shape, jnp.float32)
    bound = float(gs.linalg.conv_norm_bound(kernel, strides=strides)) * (1 + 1e-6)
    for size in (1, 3):
        image = tuple(size * s for s in strides)
        circular = gs.linalg.conv_singular_values(kernel, image, strides=strides)
        assert circular[0] <= bound
    for padding in ("SAME", "VALID", 2):
        image = (7,) * len(strides)
        assert np.linalg.norm(dense(kernel, image, strides, padding), 2) <= bound


@pytest.mark.parametrize(("shape", "strides"), SHAPES)
@pytest.mark.parametrize("oversampling", [2, 8])
def test_it_exceeds_the_supremum_by_its_factor_at_most(shape, strides, oversampling):
    kernel = random_matrix(5, shape, jnp.float32)
    found = gs.linalg.conv_norm_bound(
        kernel, strides=strides, oversampling=oversampling
    )
    image = tuple(96 * s for s in strides)
    supremum = gs.linalg.conv_singular_values(kernel, image, strides=strides)[0]
    axes = sum(k > s for k, s in zip(shape, strides, strict=False))
    factor = math.cos(math.pi / (2 * oversampling)) ** -axes
    assert supremum <= found * (1 + 1e-6)
    assert found <= supremum * factor * (1 + 1e-6)


@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize("oversampling", [2, 5])
def test_a_maximum_between_the_points_of_the_grid_is_covered(size, oversampling):
    # cos((k - 1) (t - t0) / 2), in modulus: nothing falls faster from its maximum.
    half = math.pi / (oversampling * (size - 1))
    ends = np.exp(1j * half * np.array([0, size - 1])) / 2
    kernel = jnp.zeros((size, 1, 1), jnp.complex64)
    kernel = kernel.at[0, 0, 0].set(ends[0]).at[-1, 0, 0].set(ends[1])
    found = gs.linalg.conv_norm_bound(kernel, oversampling=oversampling)
    np.testing.assert_allclose(found, 1.0, rtol=1e-5)


def test_without_overlap_it_is_the_norm_of_the_matrix(dtype, atol):
    kernel = random_matrix(0, (2, 3, 2, 4), dtype)
    found = gs.linalg.conv_norm_bound(kernel, strides=(2, 3))
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found, np.linalg.norm(kernel.reshape(-1, 4), 2), atol=10 * atol
    )


def test_gradients_agree_with_central_differences():
    with jax.enable_x64(True):
        kernel = random_matrix(0, (3, 3, 2, 3), jnp.float64)
        check_grads(gs.linalg.conv_norm_bound, (kernel,), order=1, modes=["rev"])


def test_frequencies_that_tie_share_the_gradient():
    # Of a single tap the norm is the same at every frequency.
    kernel = jnp.zeros((2, 1, 1)).at[0].set(1.0)
    gradient = jax.grad(gs.linalg.conv_norm_bound)(kernel)
    # |1 + e^(-it) x| has the slope cos(t) in x. A real kernel is evaluated at the
    # frequencies up to the half of the last axis.
    cosines = np.cos(2 * np.pi * np.arange(5) / 8)
    expected = np.array([1.0, np.mean(cosines)]) / np.cos(np.pi / 16)
    np.testing.assert_allclose(gradient[:, 0, 0], expected, atol=1e-5)


def test_zero_has_a_norm_and_a_gradient_of_zero():
    zero = jnp.zeros((3, 3, 2, 2))
    value, gradient = jax.value_and_grad(gs.linalg.conv_norm_bound)(zero)
    assert value == 0
    np.testing.assert_array_equal(gradient, zero)


def test_large_and_small_entries_neither_overflow_nor_vanish():
    kernel = random_matrix(0, (3, 3, 2, 2), jnp.float32)
    bound = gs.linalg.conv_norm_bound(kernel)
    for scale in (2.0**100, 2.0**-100):
        found = gs.linalg.conv_norm_bound(scale * kernel)
        np.testing.assert_allclose(found, scale * bound, rtol=1e-6)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_what_is_not_finite_stays_so(value):
    kernel = jnp.ones((3, 3, 2, 2)).at[0, 0, 0, 0].set(value)
    assert np.isnan(gs.linalg.conv_norm_bound(kernel))


def test_vmap_is_a_loop():
    kernels = random_matrix(0, (3, 3, 2, 2), jnp.float32)
    found = jax.vmap(gs.linalg.conv_norm_bound)(kernels)
    alone = [gs.linalg.conv_norm_bound(k) for k in kernels]
    np.testing.assert_allclose(found, jnp.stack(alone), rtol=1e-6)


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"oversampling": 1}, "`oversampling` must be an integer >= 2, got 1"),
        ({"strides": (1, 1)}, r"`strides` must have 1 sizes, .* got \(1, 1\)"),
        ({"strides": 0}, "`strides` must be an integer >= 1, got 0"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        gs.linalg.conv_norm_bound(jnp.ones((3, 2, 2)), **options)
