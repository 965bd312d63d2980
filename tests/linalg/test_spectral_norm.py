import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs
from tests.helpers import check_grads, random_matrix

spectral_norm = gs.linalg.spectral_norm


@pytest.mark.parametrize("shape", [(9, 9), (7, 5), (5, 7)])
def test_is_the_largest_singular_value(shape, any_dtype):
    matrix = random_matrix(0, shape, any_dtype)
    norm = spectral_norm(matrix)
    assert norm.dtype == jnp.finfo(any_dtype).dtype
    expected = np.linalg.norm(np.asarray(matrix, np.complex128), 2)
    rtol = 20 * float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(norm, expected, rtol=rtol)


@pytest.mark.parametrize("n", [1, 2, 17, 64, 257])
def test_every_size(n):
    matrix = random_matrix(n, (n, n), jnp.float32)
    expected = np.linalg.norm(np.asarray(matrix, np.float64), 2)
    np.testing.assert_allclose(spectral_norm(matrix), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "name"), [((4, 3), "float64"), ((3, 4), "complex128")]
)
def test_gradient_is_the_leading_pair(shape, name):
    with jax.enable_x64(True):
        matrix = random_matrix(1, shape, jnp.dtype(name))
        left, _, right = np.linalg.svd(matrix)
        # JAX returns the conjugate of the gradient of a real function.
        expected = np.outer(left[:, 0], right[0]).conj()
        np.testing.assert_allclose(jax.grad(spectral_norm)(matrix), expected, atol=1e-9)


@pytest.mark.parametrize(("name", "order"), [("float64", 2), ("complex128", 1)])
def test_derivatives(name, order):
    with jax.enable_x64(True):
        matrix = random_matrix(2, (4, 3), jnp.dtype(name))
        modes = ["fwd", "rev"] if order == 1 else ["rev"]
        check_grads(
            spectral_norm, (matrix,), order=order, modes=modes, rtol=1e-5, atol=1e-5
        )


def test_second_derivatives_of_a_complex_matrix():
    with jax.enable_x64(True):
        matrix, change = random_matrix(3, (2, 3, 3), jnp.complex128)
        gradient = jax.jit(jax.grad(spectral_norm))
        _, curvature = jax.jvp(gradient, (matrix,), (change,))
        high, low = gradient(matrix + 1e-5 * change), gradient(matrix - 1e-5 * change)
        np.testing.assert_allclose(curvature, (high - low) / 2e-5, atol=1e-8)


def test_subgradient_where_singular_values_tie():
    # Every subgradient pairs with the matrix to the norm, and has nuclear norm 1.
    q, _ = np.linalg.qr(random_matrix(3, (5, 5), jnp.float32))
    for matrix in (jnp.eye(5), 2 * jnp.asarray(q), jnp.ones((5, 5))):
        norm, gradient = jax.value_and_grad(spectral_norm)(matrix)
        np.testing.assert_allclose(jnp.sum(gradient * matrix), norm, rtol=1e-5)
        values = np.linalg.svd(gradient, compute_uv=False)
        np.testing.assert_allclose(np.sum(values), 1, rtol=1e-5)


def test_zero_matrix():
    norm, gradient = jax.value_and_grad(spectral_norm)(jnp.zeros((3, 2)))
    assert norm == 0
    np.testing.assert_array_equal(gradient, jnp.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_empty_matrices(shape):
    norm, gradient = jax.value_and_grad(spectral_norm)(jnp.zeros(shape))
    assert norm == 0
    assert gradient.shape == shape


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_scales(scale):
    matrix = random_matrix(4, (4, 3), jnp.float32)
    norm, gradient = jax.value_and_grad(spectral_norm)(scale * matrix)
    np.testing.assert_allclose(norm / scale, spectral_norm(matrix), rtol=1e-6)
    np.testing.assert_allclose(gradient, jax.grad(spectral_norm)(matrix), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_vmap_is_a_loop(dtype):
    stack = random_matrix(5, (3, 4, 5), dtype)
    function = jax.value_and_grad(spectral_norm)
    stacked = jax.vmap(function)(stack)
    for index, matrix in enumerate(stack):
        for ours, alone in zip(stacked, function(matrix), strict=True):
            np.testing.assert_allclose(ours[index], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(bad):
    matrix = jnp.eye(3).at[0, 1].set(bad)
    norm, gradient = jax.value_and_grad(spectral_norm)(matrix)
    assert jnp.isnan(norm)
    assert jnp.all(jnp.isnan(gradient))


@pytest.mark.error_text
def test_rejects_stacks():
    with pytest.raises(ValueError, match=r"`matrix` must have shape \(n, m\), got"):
        spectral_norm(jnp.zeros((2, 3, 3)))
