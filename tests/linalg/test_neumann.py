import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import linalg
from tests.helpers import RATIO_LIMIT, check_grads, orthogonality_ratio, random_matrix

ORDERS = range(4)

neumann_cayley = jax.jit(
    linalg.neumann_cayley, static_argnames=("order", "largest_residual")
)


def nearby(dtype, n=6, step=0.03):
    """Returns A, the exact inverse at A₀, and A - A₀ of spectral norm `step`."""
    start = linalg.skew(random_matrix(0, (n, n), dtype))
    change = linalg.skew(random_matrix(1, (n, n), dtype))
    change = change * (step / float(np.linalg.norm(change, 2)))
    inverse = np.linalg.inv(np.eye(n) + np.asarray(start, np.complex128))
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        inverse = inverse.real
    return start + change, jnp.asarray(inverse.astype(dtype)), change


@pytest.mark.parametrize("order", ORDERS)
def test_matches_the_series_of_the_paper(order, any_dtype):
    a, inverse, change = nearby(any_dtype)
    term, total = inverse, inverse
    for _ in range(order):
        term = -inverse @ change @ term
        total = total + term
    expected = 2 * total - jnp.eye(6, dtype=any_dtype)
    q = neumann_cayley(a, inverse, order=order)
    assert q.dtype == any_dtype
    atol = 50 * float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(q, expected, atol=atol)


def test_error_falls_with_the_power_of_the_order():
    with jax.enable_x64(True):
        step = 0.03
        a, inverse, _ = nearby(jnp.float64, step=step)
        for order in ORDERS:
            q = neumann_cayley(a, inverse, order=order)
            distance = np.linalg.norm(q - linalg.cayley(a), 2)
            assert distance <= 2 * step ** (order + 1)
            assert linalg.orthogonality_error(q) <= 20 * step ** (order + 1)
        # The bound is no idle one: low orders are not exact.
        assert linalg.orthogonality_error(neumann_cayley(a, inverse, order=1)) > 1e-6


def test_high_order_is_exact(any_dtype):
    a, inverse, _ = nearby(any_dtype)
    q = neumann_cayley(a, inverse, order=12)
    assert orthogonality_ratio(q) <= RATIO_LIMIT
    atol = 100 * float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(q, linalg.cayley(a), atol=atol)


def test_mends_the_error_of_the_inverse():
    with jax.enable_x64(True):
        a, inverse, _ = nearby(jnp.float64, step=0.01)
        for _ in range(4):
            inverse = (neumann_cayley(a, inverse) + jnp.eye(6)) / 2
        again = neumann_cayley(a, inverse)
        np.testing.assert_allclose(again, linalg.cayley(a), atol=1e-13)


def test_order_zero_leaves_the_inverse():
    a, inverse, _ = nearby(jnp.float32)
    q = neumann_cayley(a, inverse, order=0)
    np.testing.assert_array_equal(q, 2 * inverse - jnp.eye(6))


@pytest.mark.parametrize("n", [0, 1, 6])
def test_identity_at_zero(n, any_dtype):
    zero, identity = jnp.zeros((n, n), any_dtype), jnp.eye(n, dtype=any_dtype)
    np.testing.assert_array_equal(neumann_cayley(zero, identity), identity)


def test_gradient_is_that_of_the_exact_map_at_the_new_inverse():
    with jax.enable_x64(True):
        a, inverse, _ = nearby(jnp.float64)
        direction = random_matrix(2, (6, 6), jnp.float64)
        for order in (0, 2):
            fn = functools.partial(neumann_cayley, inverse=inverse, order=order)
            q, dq = jax.jvp(fn, (a,), (direction,))
            updated = (q + jnp.eye(6)) / 2
            np.testing.assert_allclose(
                dq, -2 * updated @ direction @ updated, atol=1e-14
            )


def test_gradient_with_an_exact_inverse():
    with jax.enable_x64(True):
        lower = random_matrix(0, (4, 4), jnp.float64)
        a = linalg.skew(lower)
        inverse = jnp.linalg.inv(jnp.eye(4) + a)

        def rotation(lower):
            return linalg.neumann_cayley(linalg.skew(lower), inverse)

        check_grads(jax.jit(rotation), (lower,), order=1)


def test_the_inverse_is_a_constant():
    a, inverse, _ = nearby(jnp.float32)
    grad = jax.grad(lambda p: jnp.sum(neumann_cayley(a, p)))(inverse)
    np.testing.assert_array_equal(grad, jnp.zeros((6, 6)))


def test_keeps_nan():
    a, inverse, _ = nearby(jnp.float32)
    assert jnp.all(jnp.isnan(neumann_cayley(a.at[1, 0].set(jnp.nan), inverse)))


def test_vmap_is_a_loop():
    a, inverse, _ = nearby(jnp.float32)
    stack = jnp.stack([a, 1.01 * a])
    together = jax.vmap(lambda a: neumann_cayley(a, inverse))(stack)
    for q, one in zip(together, stack, strict=True):
        np.testing.assert_allclose(q, neumann_cayley(one, inverse), atol=1e-6)


@pytest.mark.error_text
def test_rejects_unequal_matrices_and_orders():
    a = jnp.zeros((3, 3))
    message = (
        r"^`inverse` must have the shape \(3, 3\) and dtype float32 of `skew`, "
        r"got \(2, 2\) and float32\.$"
    )
    with pytest.raises(ValueError, match=message):
        linalg.neumann_cayley(a, jnp.eye(2))
    with pytest.raises(
        ValueError, match=r"^`order` must be an integer >= 0, got -1\.$"
    ):
        linalg.neumann_cayley(a, a, order=-1)
    with pytest.raises(ValueError, match=r"^`skew` must have shape \(n, n\), got"):
        linalg.neumann_cayley(jnp.zeros((3, 4)), a)


@pytest.mark.parametrize("largest", [0.0, 1e-3])
def test_takes_the_exact_transform_where_the_residual_is_too_large(largest):
    with jax.enable_x64(True):
        near, far = (nearby(jnp.float64, step=step)[:2] for step in (0.03, 0.5))
        for a, inverse in (near, far):
            q = neumann_cayley(a, inverse, largest_residual=largest)
            is_exact = a is far[0] or largest == 0
            expected = linalg.cayley(a) if is_exact else neumann_cayley(a, inverse)
            np.testing.assert_array_equal(q, expected)
        # What is taken keeps what the residual promises.
        series = neumann_cayley(*near, largest_residual=1e-3)
        assert 1e-6 < linalg.orthogonality_error(series) < 4e-3


def test_a_residual_that_is_too_large_reaches_the_gradient_and_no_other_matrix():
    with jax.enable_x64(True):
        near, far = (nearby(jnp.float64, step=step)[:2] for step in (0.03, 2.0))
        stack = jax.tree.map(lambda *x: jnp.stack(x), near, far)
        weights = random_matrix(5, (6, 6), jnp.float64)

        def loss(transform, a):
            return jnp.sum(weights * transform(a))

        def guarded(a, inverse):
            guard = functools.partial(linalg.neumann_cayley, largest_residual=1e-3)
            return jax.grad(lambda a: loss(lambda a: guard(a, inverse), a))(a)

        first, second = jax.vmap(guarded)(*stack)
        np.testing.assert_allclose(first, guarded(*near), atol=1e-12)
        expected = jax.grad(functools.partial(loss, linalg.cayley))(far[0])
        np.testing.assert_allclose(second, expected, atol=1e-12)


def test_without_a_finite_inverse_the_transform_is_exact():
    a, inverse, _ = nearby(jnp.float32)
    q = neumann_cayley(a, inverse * jnp.nan, largest_residual=1e-3)
    np.testing.assert_array_equal(q, linalg.cayley(a))
    q = neumann_cayley(a * jnp.nan, inverse, largest_residual=1e-3)
    assert jnp.all(jnp.isnan(q))
