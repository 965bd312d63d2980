import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import linalg
from tests.helpers import check_grads, orthogonality_ratio, random_matrix

orthogonality_error = jax.jit(linalg.orthogonality_error)


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7)])
def test_matches_a_naive_reference(shape, any_dtype):
    q = random_matrix(0, shape, any_dtype)
    error = orthogonality_error(q)
    assert error.dtype == q.real.dtype
    assert error.shape == ()
    wide = np.asarray(q, np.complex128)
    wide = wide if shape[0] >= shape[1] else wide.conj().T
    defect = wide.conj().T @ wide - np.eye(wide.shape[1])
    expected = max(sum(abs(entry) for entry in column) for column in defect.T)
    np.testing.assert_allclose(error, expected, rtol=1e-5)


def test_docstring_tells_the_ratio():
    q = random_matrix(0, (9, 4), jnp.float32)
    ratio = orthogonality_error(q) / (max(q.shape) * jnp.finfo(q.dtype).eps)
    np.testing.assert_allclose(ratio, orthogonality_ratio(q), rtol=1e-4)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_is_zero_when_empty(shape):
    assert orthogonality_error(jnp.zeros(shape)) == 0


def test_is_zero_for_signed_permutations():
    signs = np.diag([1.0, -1.0, 1.0, -1.0])
    assert orthogonality_error(jnp.asarray(signs[[2, 0, 3, 1]])) == 0


def test_keeps_nan():
    assert jnp.isnan(orthogonality_error(jnp.eye(3).at[1, 2].set(jnp.nan)))


def test_gradient():
    with jax.enable_x64(True):
        q = random_matrix(0, (5, 3), jnp.float64)
        check_grads(orthogonality_error, (q,), order=1)


def test_gradient_is_finite_at_orthogonal_matrices(any_dtype):
    grad = jax.grad(orthogonality_error)(jnp.eye(3, dtype=any_dtype))
    assert jnp.all(jnp.isfinite(grad))


def test_vmap_is_a_loop():
    stack = random_matrix(0, (3, 4, 2), jnp.float32)
    for error, q in zip(jax.vmap(orthogonality_error)(stack), stack, strict=True):
        np.testing.assert_allclose(error, orthogonality_error(q), rtol=1e-6)


@pytest.mark.error_text
def test_rejects_stacks():
    message = (
        r"^`q` must have shape \(n, m\), got \(2, 3, 3\); "
        r"use `jax.vmap` for a stack of matrices\.$"
    )
    with pytest.raises(ValueError, match=message):
        linalg.orthogonality_error(jnp.zeros((2, 3, 3)))
