import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import linalg
from tests.helpers import check_grads, random_matrix

skew = jax.jit(linalg.skew)


@pytest.mark.parametrize("n", [0, 1, 17])
def test_is_exactly_skew(n, any_dtype):
    a = skew(random_matrix(0, (n, n), any_dtype))
    assert a.dtype == any_dtype
    np.testing.assert_array_equal(a, -a.mT.conj())


def test_keeps_the_strict_lower_triangle(any_dtype):
    lower = random_matrix(0, (5, 5), any_dtype)
    np.testing.assert_array_equal(jnp.tril(skew(lower), -1), jnp.tril(lower, -1))


def test_keeps_the_imaginary_diagonal():
    lower = random_matrix(0, (5, 5), jnp.complex64)
    np.testing.assert_array_equal(jnp.diag(skew(lower)).imag, jnp.diag(lower).imag)


def test_reaches_every_skew_hermitian_matrix(any_dtype):
    b = random_matrix(0, (6, 6), any_dtype)
    a = b - b.mT.conj()
    np.testing.assert_array_equal(skew(a), a)


def test_never_reads_the_upper_triangle():
    lower = random_matrix(0, (4, 4), jnp.float32)
    spoiled = jnp.where(jnp.tril(jnp.ones((4, 4), bool), -1), lower, jnp.nan)
    np.testing.assert_array_equal(skew(spoiled), skew(lower))
    grad = jax.grad(lambda m: jnp.sum(skew(m) ** 2))(spoiled)
    np.testing.assert_array_equal(jnp.triu(grad), jnp.zeros((4, 4)))


def test_keeps_large_entries_finite():
    a = skew(jnp.full((3, 3), 1e38))
    assert jnp.all(jnp.isfinite(a))


def test_gradient():
    with jax.enable_x64(True):
        for dtype in (jnp.float64, jnp.complex128):
            lower = random_matrix(0, (4, 4), dtype)
            check_grads(skew, (lower,), order=1)


def test_vmap_is_a_loop():
    stack = random_matrix(0, (3, 4, 4), jnp.complex64)
    for a, lower in zip(jax.vmap(skew)(stack), stack, strict=True):
        np.testing.assert_array_equal(a, skew(lower))


@pytest.mark.error_text
def test_rejects_rectangles():
    message = r"^`lower` must have shape \(n, n\), got \(3, 4\)\.$"
    with pytest.raises(ValueError, match=message):
        linalg.skew(jnp.zeros((3, 4)))
