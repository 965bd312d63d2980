import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs
from tests.helpers import check_grads, random_matrix

product = gs.linalg.svd_product

# (m, n, k1, k2): many reflectors, then few of them, which take another path.
SHAPES = [(5, 5, 5, 5), (6, 4, 6, 2), (4, 6, 4, 6), (9, 8, 2, 1), (8, 11, 2, 0)]


def arguments(shape, dtype):
    m, n, k1, k2 = shape
    real = jnp.finfo(dtype).dtype
    return (
        random_matrix(0, (m, k1), dtype),
        1 + jax.random.uniform(jax.random.key(1), (min(m, n),), real),
        random_matrix(2, (n, k2), dtype),
    )


def multiply_reflectors(vectors):
    """Multiplies I - 2 v vᴴ / vᴴv from the left to the right, in double precision."""
    vectors = np.tril(np.asarray(vectors, np.complex128))
    q = np.eye(len(vectors), dtype=np.complex128)
    for v in vectors.T:
        q = q - 2 * np.outer(q @ v, v.conj()) / np.vdot(v, v)
    return q


def multiply_factors(left_vectors, diagonal, right_vectors):
    p = len(diagonal)
    u = multiply_reflectors(left_vectors)[:, :p]
    v = multiply_reflectors(right_vectors)[:, :p]
    return u @ np.diag(diagonal) @ v.conj().T


def assert_is_product(shape, dtype):
    args = arguments(shape, dtype)
    matrix = product(*args)
    assert matrix.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(matrix, multiply_factors(*args), rtol=0, atol=30 * eps)
    found = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(found, np.sort(args[1])[::-1], rtol=30 * eps)


@pytest.mark.parametrize("shape", SHAPES)
def test_is_the_product_of_its_factors(shape):
    assert_is_product(shape, jnp.float32)


@pytest.mark.parametrize("shape", [(6, 4, 6, 2), (9, 11, 2, 1)])
def test_is_the_product_in_every_dtype(shape, any_dtype):
    assert_is_product(shape, any_dtype)


@pytest.mark.parametrize("shape", [(9, 11, 2, 1), (6, 4, 6, 2)])
def test_signs_multiply_singular_values(shape):
    left, singular_values, right = arguments(shape, jnp.complex64)
    phases = np.exp(1j * np.arange(len(singular_values)))
    matrix = product(left, singular_values, right, jnp.asarray(phases, jnp.complex64))
    expected = multiply_factors(left, phases * np.asarray(singular_values), right)
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 4), jnp.float32), ((5, 3), jnp.complex64), ((3, 5), jnp.complex64)],
)
def test_reaches_every_matrix(shape, dtype):
    matrix = np.asarray(random_matrix(0, shape, dtype))
    u, singular_values, vh = np.linalg.svd(matrix, full_matrices=False)
    left, left_signs = gs.linalg.householder_vectors(jnp.asarray(u))
    right, right_signs = gs.linalg.householder_vectors(jnp.asarray(vh.conj().T))
    signs = left_signs * right_signs.conj()
    rebuilt = product(left, jnp.asarray(singular_values), right, signs)
    np.testing.assert_allclose(rebuilt, matrix, rtol=0, atol=1e-5)


def test_gradient():
    with jax.enable_x64(True):
        args = arguments((4, 5, 4, 4), jnp.float64)
        check_grads(product, args, order=1, modes=["rev"])


def test_gradient_with_few_reflectors():
    def plain(left, singular_values, right):
        p = len(singular_values)
        u = gs.linalg.householder_product(left)[:, :p]
        v = gs.linalg.householder_product(right)[:, :p]
        return (u * singular_values.astype(u.dtype)[None]) @ v.conj().mT

    def derivatives(fn):
        out, pull = jax.vjp(fn, *args)
        return out, pull(direction)

    with jax.enable_x64(True):
        args = arguments((9, 8, 2, 2), jnp.complex128)
        direction = random_matrix(3, (9, 8), jnp.complex128)
        found = jax.jit(derivatives, static_argnums=0)(product)
        expected = jax.jit(derivatives, static_argnums=0)(plain)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_gradient_is_finite_at_equal_and_zero_singular_values():
    left, _, right = arguments((4, 4, 4, 4), jnp.float32)

    def loss(*args):
        return jnp.sum(jnp.sin(product(*args)))

    for s in (jnp.ones(4), jnp.zeros(4)):
        gradients = jax.grad(loss, (0, 1, 2))(left, s, right)
        for gradient in gradients:
            assert jnp.all(jnp.isfinite(gradient))


@pytest.mark.parametrize("shape", [(0, 3, 0, 3), (3, 0, 2, 0), (0, 0, 0, 0)])
def test_empty_matrices(shape):
    assert product(*arguments(shape, jnp.float32)).shape == shape[:2]


@pytest.mark.parametrize("k", [1, 4])
def test_vmap_is_a_loop(k):
    left = random_matrix(0, (3, 4, k), jnp.float32)
    right = random_matrix(1, (3, 5, k), jnp.float32)
    s = random_matrix(2, (3, 4), jnp.float32)
    stack = jax.vmap(product)(left, s, right)
    for matrix, *args in zip(stack, left, s, right, strict=True):
        np.testing.assert_allclose(matrix, multiply_factors(*args), rtol=0, atol=1e-5)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_nan_stays_nan(k, position):
    args = list(arguments((4, 4, k, k), jnp.float32))
    args[position] = args[position].at[0].set(jnp.nan)
    assert jnp.any(jnp.isnan(product(*args)))


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"left_vectors": jnp.ones((2, 3))},
            "`left_vectors` must have at most as many columns (reflectors) as rows, "
            "got shape (2, 3).",
        ),
        (
            {"right_vectors": jnp.ones((2, 3))},
            "`right_vectors` must have at most as many columns (reflectors) as rows, "
            "got shape (2, 3).",
        ),
        (
            {"right_vectors": jnp.ones((4, 2), jnp.complex64)},
            "`right_vectors` must have the dtype of `left_vectors`, float32, "
            "got complex64.",
        ),
        (
            {"singular_values": jnp.ones(4)},
            "`singular_values` must have shape (3,) and dtype float32, "
            "got (4,) and float32.",
        ),
        (
            {"signs": jnp.ones(3, jnp.complex64)},
            "`signs` must have shape (3,) and dtype float32, got (3,) and complex64.",
        ),
    ],
)
def test_rejects(change, message):
    args = {
        "left_vectors": jnp.ones((3, 3)),
        "singular_values": jnp.ones(3),
        "right_vectors": jnp.ones((4, 2)),
    }
    with pytest.raises(ValueError) as info:  # noqa: PT011
        product(**(args | change))
    assert str(info.value) == message
