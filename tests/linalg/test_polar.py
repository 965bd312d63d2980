from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs
from tests.helpers import RATIO_LIMIT, check_grads, orthogonality_ratio, random_matrix

polar = gs.linalg.polar


def newton_schulz(matrix):
    """Iterates W (3 - WᴴW) / 2, which converges to A (AᴴA)^(-1/2)."""
    factor = matrix / jnp.linalg.norm(matrix).astype(matrix.dtype)

    def step(_, factor):
        return 1.5 * factor - 0.5 * factor @ (factor.conj().mT @ factor)

    return jax.lax.fori_loop(0, 40, step, factor)


def cubes(matrix):
    return jnp.sum(jnp.abs(polar(matrix) + 0.3) ** 3)


@pytest.mark.parametrize("n", [*range(18), 64, 257])
def test_orthonormal_at_every_size(n):
    q = polar(random_matrix(n, (n, n), jnp.float32))
    assert orthogonality_ratio(q) <= RATIO_LIMIT


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_matrices(shape):
    assert polar(jnp.zeros(shape)).shape == shape
    assert jax.grad(cubes)(jnp.zeros(shape)).shape == shape


@pytest.mark.parametrize("shape", [(9, 9), (64, 17), (3, 5)])
def test_orthonormal_in_every_dtype(shape, any_dtype):
    q = polar(10 * random_matrix(0, shape, any_dtype))
    assert q.shape == shape
    assert q.dtype == any_dtype
    assert orthogonality_ratio(q) <= RATIO_LIMIT


@pytest.mark.parametrize(
    ("shape", "name"), [((4, 4), "float64"), ((5, 3), "complex128")]
)
def test_derivatives_of_the_textbook_formula(shape, name):
    with jax.enable_x64(True):
        matrix, weights, change = random_matrix(1, (3, *shape), jnp.dtype(name))

        @partial(jax.jit, static_argnums=0)
        def derivatives(function, matrix):
            def loss(matrix):
                return jnp.real(jnp.vdot(weights, function(matrix)))

            gradient = jax.jvp(jax.grad(loss), (matrix,), (change,))
            return function(matrix), *gradient

        ours = derivatives(polar, matrix)
        for mine, theirs in zip(ours, derivatives(newton_schulz, matrix), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("shape", "name"), [((3, 3), "complex128"), ((2, 4), "float64")]
)
def test_derivatives(shape, name):
    with jax.enable_x64(True):
        matrix = random_matrix(3, shape, jnp.dtype(name))
        check_grads(polar, (matrix,), order=1, rtol=1e-5, atol=1e-5)


def test_derivative_at_an_orthogonal_matrix():
    # dW = (dA - W dAᵀ W) / 2 where all singular values are 1.
    with jax.enable_x64(True):
        q, _ = jnp.linalg.qr(random_matrix(4, (5, 5), jnp.float64))
        change = random_matrix(5, (5, 5), jnp.float64)
        for w in (q, jnp.eye(5)):
            factor, tangent = jax.jvp(polar, (w,), (change,))
            np.testing.assert_allclose(factor, w, atol=1e-14)
            np.testing.assert_allclose(
                tangent, (change - w @ change.mT @ w) / 2, atol=1e-13
            )


def test_second_derivatives_at_the_identity():
    with jax.enable_x64(True):
        direction, gradient = random_matrix(6, (3, 3), jnp.float64), jax.grad(cubes)
        _, curvature = jax.jvp(gradient, (jnp.eye(3),), (direction,))
        step = 1e-5 * direction
        high, low = gradient(jnp.eye(3) + step), gradient(jnp.eye(3) - step)
        np.testing.assert_allclose(curvature, (high - low) / 2e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 4), jnp.float32), ((5, 3), jnp.float32), ((3, 5), jnp.complex64)],
)
def test_rank_deficient_matrices(shape, dtype):
    for fill in (0, 1):
        matrix = jnp.full(shape, fill, dtype)
        assert orthogonality_ratio(polar(matrix)) <= RATIO_LIMIT
        gradient = jax.grad(cubes)(matrix)
        assert jnp.all(jnp.isfinite(gradient))
        if fill == 0:
            np.testing.assert_array_equal(gradient, jnp.zeros(shape, dtype))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_scale_is_irrelevant(scale):
    matrix = random_matrix(6, (5, 3), jnp.float32)
    np.testing.assert_allclose(polar(scale * matrix), polar(matrix), atol=1e-6)
    gradient = jax.grad(cubes)(scale * matrix) * scale
    np.testing.assert_allclose(gradient, jax.grad(cubes)(matrix), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_vmap_is_a_loop(dtype):
    stack = random_matrix(7, (3, 5, 3), dtype)
    stacked = jax.vmap(jax.value_and_grad(cubes))(stack)
    for index, matrix in enumerate(stack):
        for ours, alone in zip(stacked, jax.value_and_grad(cubes)(matrix), strict=True):
            np.testing.assert_allclose(ours[index], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(bad):
    matrix = jnp.eye(3).at[0, 1].set(bad)
    assert jnp.all(jnp.isnan(polar(matrix)))
    assert jnp.all(jnp.isnan(jax.grad(cubes)(matrix)))


@pytest.mark.error_text
def test_rejects_stacks_and_integers():
    with pytest.raises(ValueError, match=r"`matrix` must have shape \(n, m\), got"):
        polar(jnp.zeros((2, 3, 3)))
    with pytest.raises(ValueError, match="`matrix` must have dtype float32"):
        polar(jnp.zeros((3, 3), jnp.int32))
