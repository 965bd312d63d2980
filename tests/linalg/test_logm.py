import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import linalg
from tests.helpers import RATIO_LIMIT, check_grads, random_matrix

logm_orthogonal = jax.jit(linalg.logm_orthogonal)
expm_skew = jax.jit(linalg.expm_skew)


def special_unitary(seed, n, dtype):
    q = np.linalg.qr(np.array(random_matrix(seed, (n, n), dtype)))[0]
    if np.linalg.det(q).real < 0:
        q[:, 0] *= -1
    return q


def turning(angles, dtype):
    """Turns planes in general position by the angles, in double precision."""
    n = 2 * len(angles)
    blocks = np.eye(n)
    for i, t in enumerate(angles):
        plane = slice(2 * i, 2 * i + 2)
        blocks[plane, plane] = [[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    return (basis @ blocks @ basis.T).astype(dtype)


def check_round_trip(q):
    a = logm_orthogonal(jnp.asarray(q))
    assert a.dtype == q.dtype
    np.testing.assert_array_equal(a, -a.mT.conj())
    eps = float(jnp.finfo(q.dtype).eps)
    assert np.linalg.norm(a, 2) <= np.pi * (1 + 100 * eps)
    error = np.sum(np.abs(np.asarray(expm_skew(a)) - q), axis=0)
    assert np.max(error) <= RATIO_LIMIT * q.shape[0] * eps


@pytest.mark.parametrize("n", [1, 3, 8])
def test_exponential_returns_the_matrix(n, any_dtype):
    check_round_trip(special_unitary(n, n, any_dtype))


@pytest.mark.parametrize("n", [2, 5, 17, 64])
def test_exponential_returns_matrices_of_other_sizes(n):
    check_round_trip(special_unitary(n, n, jnp.float32))


@pytest.mark.parametrize("gap", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-7, 1e-12, 0.0])
def test_near_half_turns(gap, any_dtype):
    check_round_trip(turning([np.pi - gap, np.pi - gap / 2, 0.3, 1.2], any_dtype))


def test_half_turns_of_all_kinds(any_dtype):
    pi = np.pi
    check_round_trip(-np.eye(8, dtype=any_dtype))
    check_round_trip(turning([pi, pi - 1e-4, pi - 1e-2, 2.0], any_dtype))
    check_round_trip(turning([pi / 3, 2 * pi / 3, pi, pi / 2], any_dtype))
    check_round_trip(turning([pi / 2] * 4, any_dtype))


def test_is_principal(any_dtype):
    a = linalg.skew(random_matrix(0, (8, 8), any_dtype))
    eps = float(jnp.finfo(any_dtype).eps)
    for norm in (1e-3, 1.0, 3.0):
        scaled = a * (norm / float(np.linalg.norm(a, 2)))
        again = logm_orthogonal(expm_skew(scaled))
        np.testing.assert_allclose(again, scaled, atol=300 * eps)


def test_two_by_two_in_closed_form(dtype, atol):
    for t in (0.1, 2.0, -3.0):
        c, s = np.cos(t), np.sin(t)
        a = logm_orthogonal(jnp.array([[c, -s], [s, c]], dtype))
        np.testing.assert_allclose(a, [[0, -t], [t, 0]], atol=atol)


@pytest.mark.parametrize("n", [0, 8])
def test_identity_gives_zero(n, any_dtype):
    a = logm_orthogonal(jnp.eye(n, dtype=any_dtype))
    np.testing.assert_array_equal(a, jnp.zeros((n, n)))


def test_reflections_have_no_real_logarithm(dtype):
    assert jnp.all(jnp.isnan(logm_orthogonal(-jnp.eye(3, dtype=dtype))))
    reflected = turning([0.3, 1.0], dtype) @ np.diag([1, 1, 1, -1]).astype(dtype)
    assert jnp.all(jnp.isnan(logm_orthogonal(jnp.asarray(reflected))))


def test_reflections_have_a_complex_one():
    check_round_trip(np.diag([1, 1, -1]).astype(np.complex64))


def test_keeps_nan():
    q = jnp.eye(4).at[2, 1].set(jnp.nan)
    assert jnp.all(jnp.isnan(logm_orthogonal(q)))


@jax.jit
def there_and_back(base, direction):
    q, dq = jax.jvp(linalg.expm_skew, (base,), (direction,))
    return jax.jvp(linalg.logm_orthogonal, (q,), (dq,))[1]


def test_gradient_inverts_that_of_the_exponential():
    with jax.enable_x64(True):
        base = linalg.skew(random_matrix(0, (4, 4), jnp.float64)) / 3

        @jax.jit
        def around(lower):
            q = linalg.expm_skew(base) @ linalg.expm_skew(linalg.skew(lower))
            return linalg.logm_orthogonal(q)

        check_grads(around, (random_matrix(1, (4, 4), jnp.float64) / 5,), order=1)

        direction = linalg.skew(random_matrix(2, (4, 4), jnp.float64))
        np.testing.assert_allclose(
            there_and_back(base, direction), direction, atol=1e-12
        )


def test_complex_gradient_inverts_that_of_the_exponential():
    with jax.enable_x64(True):
        base, direction = (
            linalg.skew(m) for m in random_matrix(0, (2, 4, 4), jnp.complex128) / 3
        )
        np.testing.assert_allclose(
            there_and_back(base, direction), direction, atol=1e-12
        )


def test_gradient_is_finite_at_the_identity():
    weights = random_matrix(0, (4, 4), jnp.float32)
    loss = jax.jit(lambda q: jnp.sum(weights * logm_orthogonal(q)))
    grad = jax.grad(loss)(jnp.eye(4))
    np.testing.assert_allclose(grad, (weights - weights.mT) / 2, atol=1e-6)


def test_vmap_is_a_loop():
    stack = np.stack([turning([0.3, 1.0], np.float32), turning([2.9, 3.1], np.float32)])
    together = jax.jit(jax.vmap(logm_orthogonal))(jnp.asarray(stack))
    for a, q in zip(together, stack, strict=True):
        np.testing.assert_allclose(a, logm_orthogonal(jnp.asarray(q)), atol=1e-5)


@pytest.mark.error_text
def test_rejects_rectangles():
    message = r"^`q` must have shape \(n, n\), got \(3, 4\)\.$"
    with pytest.raises(ValueError, match=message):
        linalg.logm_orthogonal(jnp.zeros((3, 4)))
