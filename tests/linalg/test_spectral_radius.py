import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs
from gradstab.linalg import _spectral_radius
from gradstab.linalg._dominant_eigenvalue import squared_power
from tests.helpers import check_grads, random_matrix

spectral_radius = gs.linalg.spectral_radius
value_and_gradient = jax.jit(jax.value_and_grad(spectral_radius))

LARGE = 40  # above the size at which LAPACK is the first choice


@jax.jit
def without_eigensolver(matrix):
    """Returns value and gradient as on a device that has no eigensolver."""
    return jax.value_and_grad(_spectral_radius._radius_without_eigensolver)(matrix)


def orthogonal(n):
    return np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]


def rotations(n, moduli):
    """Returns one conjugate pair per modulus, the rest at most 0.5, in a skew basis."""
    matrix = np.diag(np.linspace(-0.5, 0.5, n))
    for index, modulus in enumerate(moduli):
        place = slice(2 * index, 2 * index + 2)
        cosine, sine = np.cos(1.0 + 0.5 * index), np.sin(1.0 + 0.5 * index)
        matrix[place, place] = modulus * np.array([[cosine, -sine], [sine, cosine]])
    noise = np.random.default_rng(1).standard_normal((n, n))
    basis = np.eye(n) + 0.3 * noise / np.sqrt(n)
    return basis @ matrix @ np.linalg.inv(basis)


def jordan_block(n, size):
    matrix = np.diag(np.linspace(-0.5, 0.5, n))
    matrix[:size, :size] = np.eye(size) + np.eye(size, k=1)
    return matrix


def opposites(n):
    q = orthogonal(n)
    return q @ np.diag([1.0, -0.9995, *np.linspace(-0.5, 0.5, n - 2)]) @ q.T


CASES = {
    "orthogonal": orthogonal,
    "cyclic": lambda n: np.roll(np.eye(n), 1, axis=0),
    "two pairs": lambda n: rotations(n, [0.999, 0.9985]),
    "three pairs": lambda n: rotations(n, [1.0, 1.0, 1.0]),
    "close pairs": lambda n: rotations(n, [1.0, 0.9995]),
    "opposite signs": opposites,
    "identity": np.eye,
    "Jordan block": lambda n: jordan_block(n, 3),
    "nilpotent": lambda n: np.triu(np.ones((n, n)), 1),
    "zero": lambda n: np.zeros((n, n)),
}
RADII = {"two pairs": 0.999, "nilpotent": 0.0, "zero": 0.0}


@pytest.mark.parametrize("n", [16, LARGE])
@pytest.mark.parametrize("case", CASES)
def test_hard_cases(case, n, dtype):
    matrix = jnp.asarray(CASES[case](n), dtype)
    radius, gradient = value_and_gradient(matrix)
    assert radius.dtype == dtype
    expected = RADII.get(case, 1.0)
    rtol = 50 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(radius, expected, rtol=rtol)
    assert jnp.all(jnp.isfinite(gradient))
    # The radius is homogeneous: the gradient pairs with the matrix to the radius.
    np.testing.assert_allclose(jnp.sum(gradient * matrix), radius, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_without_an_eigensolver(case):
    matrix = jnp.asarray(CASES[case](16), jnp.float32)
    radius, gradient = without_eigensolver(matrix)
    expected = RADII.get(case, 1.0)
    assert expected * (1 - 1e-6) <= radius
    assert radius <= expected * (1 + (2e-2 if case == "Jordan block" else 1e-4))
    assert jnp.all(jnp.isfinite(gradient))
    np.testing.assert_allclose(jnp.sum(gradient * matrix), radius, rtol=2e-3)


@pytest.mark.parametrize("n", [1, 16, 96])
def test_gaussian_matrices(n):
    matrix = random_matrix(n, (n, n), jnp.float32)
    radius, gradient = value_and_gradient(matrix)
    double = np.asarray(matrix, np.float64)
    values, right = np.linalg.eig(double)
    index = np.argmax(np.abs(values))
    # The rows of the inverse are the left eigenvectors, scaled to yᴴx = 1.
    left = np.linalg.inv(right)[index]
    phase = values[index].conj() / np.abs(values[index])
    expected = np.real(phase * np.outer(left, right[:, index]))
    np.testing.assert_allclose(radius, np.abs(values[index]), rtol=1e-6)
    error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
    assert error <= 2e-5


@pytest.mark.parametrize(
    ("case", "n"), [("real", 16), ("pair", 16), ("pair", LARGE), ("complex", LARGE)]
)
def test_derivatives(case, n):
    with jax.enable_x64(True):
        dtype = jnp.complex128 if case == "complex" else jnp.float64
        matrix = random_matrix(0, (n, n), dtype)
        if case == "real":
            matrix = matrix + 3 * jnp.ones((n, n))
        if case == "pair":
            matrix = matrix + 2 * np.sqrt(n) * (jnp.eye(n, k=1) - jnp.eye(n, k=-1))
        dominant = max(np.linalg.eigvals(matrix), key=abs)
        assert (abs(dominant.imag) > 1e-3) == (case != "real")
        change = random_matrix(1, (n, n), matrix.dtype)
        (radius, gradient), (slope, curvature) = jax.jit(
            lambda matrix: jax.jvp(
                jax.value_and_grad(spectral_radius), (matrix,), (change,)
            )
        )(matrix)
        step = 1e-5 * change
        high, low = value_and_gradient(matrix + step), value_and_gradient(matrix - step)
        np.testing.assert_allclose(radius, abs(dominant), rtol=1e-12)
        np.testing.assert_allclose(slope, (high[0] - low[0]) / 2e-5, atol=1e-7)
        np.testing.assert_allclose(
            jnp.real(jnp.sum(gradient * change)), slope, rtol=1e-11
        )
        np.testing.assert_allclose(curvature, (high[1] - low[1]) / 2e-5, atol=1e-6)


def test_check_grads():
    with jax.enable_x64(True):
        matrix = random_matrix(2, (4, 4), jnp.float64)
        check_grads(spectral_radius, (matrix,), order=1, rtol=1e-6, atol=1e-6)


def test_bound_has_its_own_derivative():
    with jax.enable_x64(True):
        matrix = jnp.asarray(rotations(16, [1.0, 1.0, 1.0]))
        change = random_matrix(3, (16, 16), jnp.float64)
        _, gradient = without_eigensolver(matrix)
        high = squared_power(matrix + 1e-8 * change, 16)[1]
        low = squared_power(matrix - 1e-8 * change, 16)[1]
        np.testing.assert_allclose(
            jnp.sum(gradient * change), (high - low) / 2e-8, rtol=1e-5
        )


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_only_a_cpu_is_asked_for_an_eigensolver(platform):
    traced = jax.jit(jax.grad(spectral_radius)).trace(jnp.eye(LARGE))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("geev" in text) == (platform == "cpu")


def test_vmap_is_a_loop():
    # The orthogonal matrix is the one that needs LAPACK.
    stack = random_matrix(0, (3, LARGE, LARGE), jnp.float32)
    stack = stack.at[1].set(orthogonal(LARGE))
    radii, gradients = jax.jit(jax.vmap(value_and_gradient))(stack)
    for index, matrix in enumerate(stack):
        radius, gradient = value_and_gradient(matrix)
        np.testing.assert_allclose(radii[index], radius, rtol=2e-6)
        if index != 1:  # a tie leaves the choice open
            np.testing.assert_allclose(gradients[index], gradient, atol=1e-4)


def test_a_stack_skips_lapack_where_all_is_certain():
    text = str(jax.make_jaxpr(jax.vmap(spectral_radius))(jnp.ones((2, LARGE, LARGE))))
    before, _ = text.split(" eig[", maxsplit=1)
    assert "cond[" in before


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_scales(scale):
    matrix = random_matrix(0, (16, 16), jnp.float32)
    radius, gradient = value_and_gradient(matrix)
    scaled_radius, scaled_gradient = value_and_gradient(scale * matrix)
    np.testing.assert_allclose(scaled_radius / scale, radius, rtol=1e-5)
    np.testing.assert_allclose(scaled_gradient, gradient, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n", [16, LARGE])
def test_what_is_not_finite_stays_so(bad, n):
    radius, gradient = value_and_gradient(jnp.eye(n).at[0, 1].set(bad))
    assert jnp.isnan(radius)
    assert jnp.all(jnp.isnan(gradient))


def test_empty_matrix():
    radius, gradient = value_and_gradient(jnp.zeros((0, 0)))
    assert radius == 0
    assert gradient.shape == (0, 0)


@pytest.mark.error_text
def test_rejects_rectangles():
    with pytest.raises(ValueError, match=r"`matrix` must have shape \(n, n\), got"):
        spectral_radius(jnp.zeros((3, 4)))
