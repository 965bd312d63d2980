import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs
from tests.helpers import RATIO_LIMIT, check_grads, orthogonality_ratio, random_matrix

product = gs.linalg.householder_product


def multiply_reflectors(vectors):
    """Multiplies I - 2 v vᴴ / vᴴv from the left to the right, in double precision."""
    vectors = np.tril(np.asarray(vectors, np.complex128))
    q = np.eye(len(vectors), dtype=np.complex128)
    for v in vectors.T:
        if np.any(v):
            v = v / np.linalg.norm(v)
            q = q - 2 * np.outer(q @ v, v.conj())
    return q


def scan_reflectors(vectors):
    """Multiplies the same reflectors as a differentiable scan."""

    def reflect(q, v):
        return q - (2 / jnp.vdot(v, v)) * jnp.outer(q @ v, v.conj()), None

    identity = jnp.eye(len(vectors), dtype=vectors.dtype)
    return jax.lax.scan(reflect, identity, jnp.tril(vectors).mT)[0]


def assert_is_product(q, vectors):
    n, p = q.shape
    assert q.dtype == vectors.dtype
    assert orthogonality_ratio(q) <= RATIO_LIMIT
    expected = multiply_reflectors(vectors)[:, :p]
    atol = 10 * max(n, 1) * float(jnp.finfo(q.dtype).eps)
    np.testing.assert_allclose(q, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("n", [*range(18), 64, 257])
def test_product_at_every_size(n):
    vectors = random_matrix(n, (n, n), jnp.float32)
    assert_is_product(product(vectors), vectors)
    assert_is_product(product(10 * vectors), vectors)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (9, 0, 9), (9, 4, 9), (9, 4, 2), (70, 69, 70)]
)
def test_product_in_every_dtype(shape, any_dtype):
    n, k, p = shape
    vectors = random_matrix(n, (n, k), any_dtype)
    q = product(vectors, columns=p)
    assert q.shape == (n, p)
    assert_is_product(q, vectors)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 3e37])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
def test_length_is_irrelevant(scale, dtype):
    vectors = random_matrix(0, (9, 9), dtype)
    q = product(vectors * jnp.asarray(scale, dtype))
    np.testing.assert_allclose(q, product(vectors), rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [64, 257])
def test_nearly_parallel_reflectors(n):
    noise = random_matrix(0, (n, n), jnp.float32)
    for spread in (0.0, 1e-3):
        assert orthogonality_ratio(product(1 + spread * noise)) <= RATIO_LIMIT


def test_no_reflectors_leave_the_signs():
    signs = jnp.array([1.0, -1.0, 1.0])
    np.testing.assert_array_equal(product(jnp.zeros((3, 0)), signs), jnp.diag(signs))


def test_zero_vector_is_no_reflector():
    vectors = random_matrix(0, (5, 4), jnp.float32)
    without = vectors.at[:, 2].set(0)
    assert_is_product(product(without), without)
    np.testing.assert_array_equal(product(jnp.zeros((5, 4))), jnp.eye(5))

    gradient = jax.grad(lambda v: jnp.sum(jnp.sin(product(v))))(without)
    np.testing.assert_array_equal(gradient[:, 2], jnp.zeros(5))
    assert jnp.all(jnp.isfinite(gradient))
    assert jnp.any(gradient != 0)


def test_entries_above_the_diagonal_are_ignored():
    vectors = random_matrix(0, (5, 4), jnp.float32)
    above = jnp.triu(jnp.full((5, 4), jnp.nan), 1)
    np.testing.assert_array_equal(product(jnp.tril(vectors) + above), product(vectors))


def test_signs_multiply_columns():
    vectors = random_matrix(0, (4, 4), jnp.complex64)
    phases = jnp.exp(1j * jnp.arange(3.0, dtype=jnp.float32).astype(jnp.complex64))
    q = product(vectors, phases, columns=3)
    np.testing.assert_allclose(q, product(vectors)[:, :3] * phases[None], atol=1e-6)


def as_real(fn):
    """Turns a function of complex matrices into one of real and imaginary parts."""

    def real_fn(parts):
        out = fn(jax.lax.complex(parts[0], parts[1]))
        return jnp.stack([out.real, out.imag])

    return real_fn


def test_gradient_of_every_order():
    with jax.enable_x64(True):
        check_grads(product, (random_matrix(0, (4, 4), jnp.float64),), order=2)


def test_gradient_of_complex_vectors():
    with jax.enable_x64(True):
        parts = random_matrix(1, (2, 5, 4), jnp.float64)
        build = as_real(lambda vectors: product(vectors, columns=3))
        check_grads(jax.jit(build), (parts,), order=1)


def test_derivatives_through_panels():
    def derivatives(fn):
        q, pull = jax.vjp(fn, vectors)
        return q, pull(direction)[0], jax.jvp(fn, (vectors,), (direction,))[1]

    with jax.enable_x64(True):
        vectors = random_matrix(0, (70, 70), jnp.complex128)
        direction = random_matrix(1, (70, 70), jnp.complex128)
        q, gradient, tangent = jax.jit(derivatives, static_argnums=0)(product)
        expected = jax.jit(derivatives, static_argnums=0)(scan_reflectors)
        np.testing.assert_allclose(q, expected[0], rtol=0, atol=1e-13)
        np.testing.assert_allclose(gradient, expected[1], rtol=0, atol=1e-11)
        np.testing.assert_allclose(tangent, expected[2], rtol=0, atol=1e-11)
        radial = jnp.sum((gradient * vectors).real, axis=0)
        np.testing.assert_allclose(radial, jnp.zeros(70), atol=1e-11)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_gradient_grows_as_vectors_shrink(scale):
    def loss(v):
        return jnp.sum(jnp.sin(product(v)))

    vectors = random_matrix(0, (5, 5), jnp.float32)
    gradient = jax.grad(loss)(vectors * scale) * scale
    np.testing.assert_allclose(gradient, jax.grad(loss)(vectors), rtol=0, atol=1e-5)


def test_vmap_is_a_loop():
    stack = random_matrix(0, (3, 5, 4), jnp.float32)
    for q, vectors in zip(jax.vmap(product)(stack), stack, strict=True):
        assert_is_product(q, vectors)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_non_finite_stays_so(bad):
    vectors = random_matrix(0, (5, 3), jnp.float32).at[3, 1].set(bad)
    assert not jnp.all(jnp.isfinite(product(vectors)))


def test_calls_no_factorisation():
    vectors = jnp.ones((70, 70))
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(product(v))))
    assert "custom_call" not in gradient.lower(vectors).as_text()


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: product(jnp.ones((2, 3))),
            "`vectors` must have at most as many columns (reflectors) as rows, "
            "got shape (2, 3).",
        ),
        (
            lambda: product(jnp.ones((2, 3, 2))),
            "`vectors` must have shape (n, m), got (2, 3, 2); "
            "use `jax.vmap` for a stack of matrices.",
        ),
        (
            lambda: product(jnp.ones((3, 2)), columns=4),
            "`columns` must be an integer in [0, 3], got 4.",
        ),
        (
            lambda: product(jnp.ones((3, 2)), jnp.ones(2)),
            "`signs` must have shape (3,) and dtype float32, got (2,) and float32.",
        ),
        (
            lambda: product(jnp.ones((3, 2)), jnp.ones(3, jnp.int32)),
            "`signs` must have shape (3,) and dtype float32, got (3,) and int32.",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError) as info:  # noqa: PT011
        call()
    assert str(info.value) == message
