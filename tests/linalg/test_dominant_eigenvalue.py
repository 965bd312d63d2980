import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.linalg._dominant_eigenvalue import dominant_eigenvalue, squared_power
from tests.helpers import random_matrix

SIZE = 24
iterate = jax.jit(dominant_eigenvalue)
iterate_stack = jax.jit(jax.vmap(dominant_eigenvalue))


def rotation_blocks(moduli):
    """Returns conjugate pairs of given moduli and different angles, and small rest."""
    matrix = np.diag(np.linspace(-0.5, 0.5, SIZE))
    for index, modulus in enumerate(moduli):
        cosine, sine = np.cos(1.0 + 0.5 * index), np.sin(1.0 + 0.5 * index)
        place = slice(2 * index, 2 * index + 2)
        matrix[place, place] = modulus * np.array([[cosine, -sine], [sine, cosine]])
    basis = np.eye(SIZE) + 0.3 * np.random.default_rng(0).standard_normal((
        SIZE,
        SIZE,
    )) / np.sqrt(SIZE)
    return basis @ matrix @ np.linalg.inv(basis)


@pytest.mark.parametrize("moduli", [[0.999], [0.999, 0.9985], [1.0, 0.9995]])
def test_separates_close_pairs(moduli, dtype):
    matrix = jnp.asarray(rotation_blocks(moduli), dtype)
    eigen, certified = iterate(matrix)
    assert certified
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(jnp.abs(eigen.value), moduli[0], rtol=30 * eps)
    complex_matrix = matrix.astype(eigen.right.dtype)
    np.testing.assert_allclose(
        complex_matrix @ eigen.right, eigen.value * eigen.right, atol=100 * eps
    )
    np.testing.assert_allclose(
        eigen.left.conj() @ complex_matrix,
        eigen.value * eigen.left.conj(),
        atol=100 * eps,
    )


def test_separates_opposite_signs(dtype):
    # The first squaring maps 1 and -0.9995 to neighbours.
    matrix = rotation_blocks([])
    matrix[:2] = matrix[:, :2] = 0
    matrix[0, 0], matrix[1, 1] = 1, -0.9995
    noise = 1e-6 * np.random.default_rng(2).standard_normal((20, SIZE, SIZE))
    eigen, certified = iterate_stack(jnp.asarray(matrix + noise, dtype))
    assert np.mean(certified) >= 0.9
    moduli = np.abs(eigen.value[certified])
    np.testing.assert_allclose(moduli, 1, atol=1e-5)


@pytest.mark.parametrize(
    "matrix",
    [
        rotation_blocks([1.0, 1.0, 1.0]),
        np.roll(np.eye(SIZE), 1, axis=0),
        np.linalg.qr(random_matrix(0, (SIZE, SIZE), jnp.float32))[0],
        np.zeros((SIZE, SIZE)),
        np.triu(np.ones((SIZE, SIZE)), 1),
    ],
    ids=["three pairs", "cyclic", "orthogonal", "zero", "nilpotent"],
)
def test_certifies_no_larger_tie(matrix, dtype):
    _, certified = iterate(jnp.asarray(matrix, dtype))
    assert not certified


def test_what_is_certified_is_the_largest(dtype):
    # Moduli in clusters as tight as 1e-7 below 1, real and complex, either sign.
    rng = np.random.default_rng(1)
    stack = []
    for _ in range(20):
        moduli = 1 - 10 ** -rng.uniform(1, 7, size=rng.integers(1, 5))
        stack.append(rotation_blocks([1.0, *moduli]) * rng.choice([-1, 1]))
    eigen, certified = iterate_stack(jnp.asarray(stack, dtype))
    assert np.any(certified)
    error = np.abs(np.abs(eigen.value[certified]) - 1)
    assert np.all(error <= 100 * float(jnp.finfo(dtype).eps))


def test_bound_is_never_too_small():
    for matrix in (rotation_blocks([1.0, 0.9]), rotation_blocks([1.0, 1.0, 1.0])):
        bounds = [squared_power(jnp.asarray(matrix), k)[1] for k in (0, 2, 8, 16)]
        assert min(bounds) >= 1 - 1e-6
        assert bounds == sorted(bounds, reverse=True)
        np.testing.assert_allclose(bounds[-1], 1, atol=1e-4)
