import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs
from tests.helpers import check_grads, random_matrix

clip = gs.linalg.clip_singular_values
INTERVALS = [(0.0, 0.5), (0.5, 1.0), (0.5, 0.5)]


def with_singular_values(seed, shape, values, dtype):
    """Returns a matrix with random singular vectors."""
    rows, columns = shape
    left, _ = np.linalg.qr(random_matrix(seed, (rows, rows), dtype))
    right, _ = np.linalg.qr(random_matrix(seed + 1, (columns, columns), dtype))
    count = min(shape)
    scaled = left[:, :count] * np.asarray(values)
    return jnp.asarray(scaled @ right[:, :count].conj().T, dtype)


def clip_factors(matrix, minimum, maximum):
    """Clips the factors that NumPy computes in double precision."""
    matrix = np.asarray(matrix, np.complex128)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return (left * np.clip(values, minimum, maximum)) @ right


def differentiable_clip(matrix, minimum, maximum):
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    clipped = jnp.clip(values, minimum, maximum).astype(matrix.dtype)
    return (left * clipped[None, :]) @ right


def cubes(matrix, minimum, maximum):
    clipped = clip(matrix, minimum=minimum, maximum=maximum)
    return jnp.sum(jnp.abs(clipped + 0.3) ** 3)


@pytest.mark.parametrize("minimum", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(7, 7), (4, 6)])
def test_clips_singular_values(shape, minimum, any_dtype):
    maximum = 1.0
    matrix = random_matrix(0, shape, any_dtype)
    matrix = matrix / math.sqrt(max(shape))
    clipped = clip(matrix, minimum=minimum, maximum=maximum)
    assert clipped.dtype == any_dtype
    expected = clip_factors(matrix, minimum, maximum)
    atol = 50 * float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(clipped, expected, atol=atol)
    values = np.linalg.svd(np.asarray(clipped, np.complex128), compute_uv=False)
    assert np.all((values >= minimum - atol) & (values <= maximum + atol))


@pytest.mark.parametrize("minimum", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_empty_matrices(shape, minimum):
    assert clip(jnp.zeros(shape), minimum=minimum, maximum=1.0).shape == shape


@pytest.mark.parametrize("n", [1, 2, 17, 64, 257])
def test_clips_at_every_size(n):
    matrix = random_matrix(n, (n, n), jnp.float32) / math.sqrt(n)
    clipped = np.asarray(clip(matrix, maximum=1.0), np.float64)
    error = np.linalg.norm(clipped - clip_factors(matrix, 0, 1))
    assert error <= 5e-6 * np.linalg.norm(clipped)
    assert np.linalg.norm(clipped, 2) <= 1 + 5e-6


def test_keeps_what_the_gram_matrix_cannot_hold():
    # Squared, the values near the limit are below the rounding of the largest.
    values = np.geomspace(1e4, 0.1, 20)
    matrix = with_singular_values(0, (20, 20), values, jnp.float32)
    clipped = np.asarray(clip(matrix, maximum=1.0), np.float64)
    singular_values = np.linalg.svd(clipped, compute_uv=False)
    assert singular_values[0] <= 1 + 5e-6
    error = np.linalg.norm(clipped - clip_factors(matrix, 0, 1))
    assert error <= 1e-6 * np.linalg.norm(matrix)
    np.testing.assert_allclose(singular_values, np.minimum(values, 1), atol=5e-3)


@pytest.mark.parametrize("minimum", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_leaves_the_set_alone(minimum, dtype):
    matrix = with_singular_values(0, (4, 3), [0.95, 0.8, 0.8], dtype)
    clipped, pull = jax.vjp(
        lambda matrix: clip(matrix, minimum=minimum, maximum=1.0), matrix
    )
    np.testing.assert_array_equal(clipped, matrix)
    np.testing.assert_array_equal(pull(matrix)[0], matrix)


@pytest.mark.parametrize("values", [[0, 0, 0], [2, 0, 0], [0.1, 1e-12, 0]])
def test_lifts_zero_singular_values(values):
    matrix = with_singular_values(0, (4, 3), values, jnp.complex64)
    clipped = clip(matrix, minimum=0.5, maximum=1.0)
    lifted = np.linalg.svd(np.asarray(clipped), compute_uv=False)
    np.testing.assert_allclose(lifted, np.clip(values, 0.5, 1), atol=2e-6)
    assert jnp.all(jnp.isfinite(jax.grad(cubes)(matrix, 0.5, 1.0)))


def test_a_limit_counts_as_inside():
    identity, weights = jnp.eye(4), random_matrix(0, (4, 4), jnp.float32)
    clipped, pull = jax.vjp(lambda matrix: clip(matrix, maximum=1.0), identity)
    np.testing.assert_array_equal(clipped, identity)
    np.testing.assert_array_equal(pull(weights)[0], weights)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_maximum_zero(bad):
    matrix = random_matrix(0, (3, 3), jnp.float32).at[0, 1].set(bad)
    value, gradient = jax.value_and_grad(cubes)(matrix, 0.0, 0.0)
    clipped = clip(matrix, maximum=0.0)
    if bad == 0:
        np.testing.assert_array_equal(clipped, jnp.zeros((3, 3)))
        np.testing.assert_array_equal(gradient, jnp.zeros((3, 3)))
    else:
        assert jnp.all(jnp.isnan(clipped))
        assert jnp.isnan(value)


@pytest.mark.parametrize(
    ("minimum", "shape", "name"),
    [(0.0, (4, 4), "float64"), (0.5, (4, 3), "complex128")],
)
def test_derivatives_of_the_textbook_formula(minimum, shape, name):
    with jax.enable_x64(True):
        values = [2.0, 1.2, 0.3, 0.9][: min(shape)]
        matrix = with_singular_values(0, shape, values, jnp.dtype(name))
        weights, change = random_matrix(2, (2, *shape), jnp.dtype(name))

        @partial(jax.jit, static_argnums=0)
        def derivatives(function, matrix):
            def loss(matrix):
                clipped = function(matrix, minimum=minimum, maximum=1.0)
                return jnp.real(jnp.vdot(weights, clipped))

            return jax.jvp(jax.grad(loss), (matrix,), (change,))

        ours = derivatives(clip, matrix)
        for mine, theirs in zip(
            ours, derivatives(differentiable_clip, matrix), strict=True
        ):
            np.testing.assert_allclose(mine, theirs, atol=1e-9)


def test_derivatives():
    with jax.enable_x64(True):
        matrix = with_singular_values(0, (3, 3), [1.7, 0.3, 1.2], jnp.float64)

        @jax.jit
        def clipped(matrix):
            return clip(matrix, maximum=1.0)

        check_grads(clipped, (matrix,), order=1, rtol=1e-6, atol=1e-6)


def test_derivatives_where_singular_values_repeat():
    # With every singular value above the maximum, or below the minimum, the clip is
    # that limit times the polar factor.
    with jax.enable_x64(True):
        direction = random_matrix(3, (3, 3), jnp.float64)

        @partial(jax.jit, static_argnums=0)
        def derivatives(function, matrix):
            gradient = jax.grad(lambda matrix: jnp.sum(function(matrix) ** 3))
            return jax.jvp(gradient, (matrix,), (direction,))

        def polar(matrix):
            return 0.5 * gs.linalg.polar(matrix)

        for matrix, clipped in (
            (2 * jnp.eye(3), lambda matrix: clip(matrix, maximum=0.5)),
            (0.1 * jnp.eye(3), lambda matrix: clip(matrix, minimum=0.5, maximum=1.0)),
        ):
            ours, theirs = derivatives(clipped, matrix), derivatives(polar, matrix)
            np.testing.assert_allclose(ours[0], theirs[0], atol=1e-11)
            np.testing.assert_allclose(ours[1], theirs[1], atol=1e-9)


@pytest.mark.parametrize(("minimum", "maximum"), INTERVALS)
def test_gradient_is_finite_where_the_factors_have_none(minimum, maximum):
    stack = jnp.stack([
        jnp.eye(4),
        0.5 * jnp.eye(4),
        jnp.ones((4, 4)),
        jnp.zeros((4, 4)),
    ])
    gradients = jax.vmap(lambda matrix: jax.grad(cubes)(matrix, minimum, maximum))
    assert jnp.all(jnp.isfinite(gradients(stack)))


def test_gradient_in_single_precision():
    matrix = random_matrix(0, (96, 96), jnp.float32) / math.sqrt(96)
    weights = random_matrix(1, (96, 96), jnp.float32)

    def gradient(matrix, weights):
        return jax.grad(lambda m: jnp.vdot(weights, clip(m, maximum=1.0)))(matrix)

    single = np.asarray(gradient(matrix, weights), np.float64)
    with jax.enable_x64(True):
        double = gradient(matrix.astype(jnp.float64), weights.astype(jnp.float64))
    double = np.asarray(double)
    error = np.linalg.norm(single - double) / np.linalg.norm(double)
    assert error <= 3e-6


@pytest.mark.parametrize(
    ("entry", "scale", "maximum"),
    [
        (1e30, 1.0, 1.0),
        (1e15, 1.0, 1e-20),
        (1e20, 1.0, 2.0),
        (3.0, 1e-30, 1e-30),
        (3.0, 1e30, 1e30),
        (3e7, 1e30, 1e30),
        (3.0, 1e10, 1e-20),
    ],
)
def test_gradient_is_that_of_any_other_scale(entry, scale, maximum):
    # Double precision has no trouble with one matrix in units of another.
    matrix = random_matrix(0, (5, 5), jnp.float32).at[0, 1].set(entry) * scale
    weights = random_matrix(1, (5, 5), jnp.float32)
    found = jax.grad(lambda m: jnp.vdot(weights, clip(m, maximum=maximum)))(matrix)
    with jax.enable_x64(True):
        exact = matrix.astype(jnp.float64) / scale
        weights = weights.astype(jnp.float64)
        expected = jax.grad(
            lambda m: jnp.vdot(weights, clip(m, maximum=maximum / scale))
        )(exact)
    error = np.linalg.norm(np.asarray(found, np.float64) - np.asarray(expected))
    assert error <= 1e-5 * np.linalg.norm(np.asarray(expected))


@pytest.mark.parametrize("maximum", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("entry", [1e-38, 1e35, 3e38])
def test_gradient_is_finite_at_the_ends_of_the_range(entry, maximum):
    matrix = random_matrix(0, (5, 5), jnp.float32)
    for extreme in (matrix.at[0, 1].set(entry), matrix / 4 * entry):
        value, slope = jax.value_and_grad(
            lambda m: jnp.sum(clip(m, maximum=maximum) / maximum)
        )(extreme)
        assert jnp.isfinite(value)
        assert jnp.all(jnp.isfinite(slope))


@pytest.mark.parametrize(("scale", "minimum"), [(1e-20, 0.5), (1e20, 0.0)])
def test_scales_with_the_limits(scale, minimum):
    matrix = random_matrix(0, (5, 5), jnp.float32)
    clipped = clip(scale * matrix, minimum=scale * minimum, maximum=scale)
    expected = scale * clip(matrix, minimum=minimum, maximum=1.0)
    np.testing.assert_allclose(clipped, expected, atol=5e-6 * scale)


def test_vmap_is_a_loop():
    # The scales put one matrix inside, and one where the SVD takes over.
    scales = jnp.array([0.1, 1.0, 30.0])
    stack = random_matrix(0, (3, 5, 4), jnp.float32) * scales[:, None, None]

    def value_and_gradient(matrix):
        return jax.value_and_grad(cubes)(matrix, 0.0, 1.0)

    stacked = jax.vmap(value_and_gradient)(stack)
    for index, matrix in enumerate(stack):
        for ours, alone in zip(stacked, value_and_gradient(matrix), strict=True):
            np.testing.assert_allclose(ours[index], alone, rtol=2e-5, atol=2e-5)


def test_a_stack_runs_one_factorization():
    function = jax.vmap(lambda matrix: clip(matrix, maximum=1.0))
    text = str(jax.make_jaxpr(function)(jnp.ones((3, 4, 4))))
    assert "cond[" in text
    before, _ = text.split("cond[", maxsplit=1)
    assert " svd[" not in before


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("minimum", [0.0, 0.5])
def test_what_is_not_finite_stays_so(bad, minimum):
    matrix = jnp.eye(3).at[0, 1].set(bad)
    assert jnp.all(jnp.isnan(clip(matrix, minimum=minimum, maximum=1.0)))
    assert jnp.all(jnp.isnan(jax.grad(cubes)(matrix, minimum, 1.0)))


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("minimum", "maximum", "message"),
    [
        (0.0, -1.0, r"`maximum` must be a finite number in \[0.0, inf\], got -1.0"),
        (0.0, math.nan, r"`maximum` must be a finite number .*, got nan"),
        (2.0, 1.0, r"`minimum` must be a finite number in \[0.0, 1.0\], got 2.0"),
        (-1.0, 1.0, r"`minimum` must be a finite number in \[0.0, 1.0\], got -1.0"),
    ],
)
def test_rejects_impossible_intervals(minimum, maximum, message):
    with pytest.raises(ValueError, match=message):
        clip(jnp.eye(3), minimum=minimum, maximum=maximum)


@pytest.mark.error_text
def test_rejects_stacks():
    with pytest.raises(ValueError, match=r"`matrix` must have shape \(n, m\), got"):
        clip(jnp.zeros((2, 3, 3)), maximum=1.0)
