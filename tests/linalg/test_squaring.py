import jax
import jax.numpy as jnp
import numpy as np

from gradstab.linalg import expm_skew, skew
from gradstab.linalg._squaring import square_repeatedly
from tests.helpers import RATIO_LIMIT, check_grads, orthogonality_ratio, random_matrix


@jax.jit
def powered(lower, times):
    return square_repeatedly(expm_skew(skew(lower)), times)


def test_matches_matrix_power(dtype):
    lower = random_matrix(0, (5, 5), dtype) / 4
    q = np.asarray(powered(lower, 0), np.float64)
    for times in range(4):
        expected = np.linalg.matrix_power(q, 2**times)
        atol = 2**times * 100 * float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(powered(lower, times), expected, atol=atol)


def test_no_squaring_changes_nothing():
    q = random_matrix(0, (4, 4), jnp.float32)
    np.testing.assert_array_equal(square_repeatedly(q, jnp.asarray(0)), q)


def test_stays_unitary(any_dtype):
    lower = random_matrix(0, (6, 6), any_dtype) / 4
    for times in (1, 3, 8, 9, 50, 120):
        assert orthogonality_ratio(powered(lower, times)) <= RATIO_LIMIT


def test_gradient_past_the_first_polish():
    # Ten squarings pass the step that makes the powers unitary again.
    with jax.enable_x64(True):
        lower = random_matrix(0, (3, 3), jnp.float64) / 500
        check_grads(lambda m: powered(m, 10), (lower,), order=1, eps=1e-6)


def test_gradient_matches_autodiff_of_products():
    def naive(lower, times):
        q = expm_skew(skew(lower))
        for _ in range(times):
            q = q @ q
        return q

    with jax.enable_x64(True):
        lower, weights = random_matrix(0, (2, 4, 4), jnp.float64)

        def loss(lower, fn, times):
            return jnp.sum(weights * fn(lower, times))

        grad = jax.grad(loss)
        ours = jax.jit(lambda m, times: grad(m, powered, times))
        for times in (0, 1, 3):
            expected = jax.jit(grad, static_argnums=(1, 2))(lower, naive, times)
            np.testing.assert_allclose(ours(lower, times), expected, atol=1e-12)


def test_vmap_over_the_number_of_squarings():
    lower = random_matrix(0, (3, 4, 4), jnp.float32) / 4
    times = jnp.arange(3)
    grad = jax.grad(lambda lower, times: jnp.sum(powered(lower, times) ** 3))
    stacked, one = jax.jit(jax.vmap(grad))(lower, times), jax.jit(grad)
    for k in range(3):
        np.testing.assert_allclose(stacked[k], one(lower[k], times[k]), atol=1e-4)
