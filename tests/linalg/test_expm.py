import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import linalg
from gradstab.linalg import _expm
from tests.helpers import RATIO_LIMIT, check_grads, orthogonality_ratio, random_matrix

expm_skew = jax.jit(linalg.expm_skew)

SCALES = [1e-20, 0.1, 1.0, 10.0, 1e2, 1e4, 1e20, 1e37]


@jax.jit
def rotation(lower):
    return linalg.expm_skew(linalg.skew(lower))


@jax.jit
def naive(lower):
    return jax.scipy.linalg.expm(linalg.skew(lower))


def by_eigenvectors(skew):
    """The exponential in double precision, by NumPy."""
    angles, vectors = np.linalg.eigh(1j * np.asarray(skew, np.complex128))
    return (vectors * np.exp(-1j * angles)) @ vectors.conj().T


def times(a, b):
    product = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            product[i + j] += left * right
    return product


def plus(*terms):
    padded = [term + [Fraction(0)] * (19 - len(term)) for term in terms]
    return [sum(column) for column in zip(*padded, strict=True)]


def on_powers(coefficients):
    polynomial = [Fraction(0)] * 7
    for power, c in zip((1, 2, 3, 6), coefficients, strict=True):
        polynomial[power] = Fraction(c)
    return polynomial


def test_polynomial_is_the_taylor_series():
    product = times(on_powers(_expm._B1), on_powers(_expm._B5))
    left = plus(product, on_powers(_expm._LEFT))
    right = plus(product, on_powers(_expm._B4))
    slope = [Fraction(_expm._SLOPE) * c for c in product]
    series = plus(
        [Fraction(1)], on_powers(_expm._REST), slope, times(left[:10], right[:10])
    )
    for power, coefficient in enumerate(series):
        assert abs(coefficient * math.factorial(power) - 1) < 1e-14, power


@pytest.mark.parametrize("n", [1, 2, 8])
def test_is_unitary_at_every_scale(n, any_dtype):
    lower = random_matrix(0, (n, n), any_dtype)
    for scale in SCALES:
        q = rotation(scale * lower)
        assert q.dtype == any_dtype
        assert orthogonality_ratio(q) <= RATIO_LIMIT, scale


@pytest.mark.parametrize("n", [*range(3, 17), 64, 257])
def test_is_orthogonal_at_every_size(n):
    lower = random_matrix(n, (n, n), jnp.float32)
    for scale in SCALES:
        assert orthogonality_ratio(rotation(scale * lower)) <= RATIO_LIMIT, scale


@pytest.mark.parametrize("norm", [0.1, 1.0, 3.0, 3.5, 30.0, 1e3])
def test_matches_eigenvectors(norm, any_dtype):
    a = linalg.skew(random_matrix(0, (8, 8), any_dtype))
    a = a * (norm / float(np.linalg.norm(a, 2)))
    atol = 30 * float(jnp.finfo(any_dtype).eps) * max(1.0, norm)
    np.testing.assert_allclose(expm_skew(a), by_eigenvectors(a), atol=atol)


def test_two_by_two_in_closed_form(dtype, atol):
    t = 2.5
    q = expm_skew(jnp.array([[0.0, -t], [t, 0.0]], dtype))
    expected = [[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]
    np.testing.assert_allclose(q, expected, atol=atol)


@pytest.mark.parametrize("n", [0, 8])
def test_zero_is_the_identity(n, any_dtype):
    q = expm_skew(jnp.zeros((n, n), any_dtype))
    np.testing.assert_array_equal(q, jnp.eye(n))


def test_gradient_at_zero_is_the_skew_part(dtype):
    weights = random_matrix(0, (5, 5), dtype)
    grad = jax.grad(lambda m: jnp.sum(weights * rotation(m)))(jnp.zeros((5, 5), dtype))
    expected = np.tril(weights - weights.T, -1)
    np.testing.assert_allclose(grad, expected, atol=20 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_keeps_what_is_not_finite(bad):
    lower = random_matrix(0, (5, 5), jnp.float32).at[3, 1].set(bad)
    assert jnp.all(jnp.isnan(rotation(lower)))


def test_gradient():
    with jax.enable_x64(True):
        lower = random_matrix(0, (3, 3), jnp.float64)
        check_grads(rotation, (lower,), order=1, eps=1e-5)
        # Two squarings, whose second derivative takes another way than their first.
        check_grads(rotation, (4 * lower,), order=2, eps=1e-4)
        check_grads(rotation, (random_matrix(0, (3, 3), jnp.complex128),), order=1)


def test_gradient_matches_autodiff_of_jax(dtype):
    weights, lower = random_matrix(0, (2, 6, 6), dtype)
    grads = [
        jax.jit(jax.grad(lambda m, fn=fn: jnp.sum(weights * fn(m))))
        for fn in (rotation, naive)
    ]
    for scale in (0.0, 1.0, 30.0):
        ours, expected = (grad(scale * lower) for grad in grads)
        atol = 300 * float(jnp.finfo(dtype).eps) * max(1.0, scale)
        np.testing.assert_allclose(ours, expected, atol=atol)


def test_gradient_of_huge_matrices_is_finite():
    lower = random_matrix(0, (5, 5), jnp.float32)
    grad = jax.jit(jax.grad(lambda m: jnp.sum(rotation(m))))
    for scale in (1e4, 1e20):
        assert jnp.all(jnp.isfinite(grad(scale * lower)))


def test_vmap_is_a_loop():
    scales = jnp.array([0.01, 1.0, 100.0, jnp.nan])[:, None, None]
    stack = scales * random_matrix(0, (4, 5, 5), jnp.float32)
    for q, lower in zip(jax.jit(jax.vmap(rotation))(stack), stack, strict=True):
        np.testing.assert_allclose(q, rotation(lower), atol=1e-5)


@pytest.mark.error_text
def test_rejects_rectangles():
    message = r"^`skew` must have shape \(n, n\), got \(3, 4\)\.$"
    with pytest.raises(ValueError, match=message):
        linalg.expm_skew(jnp.zeros((3, 4)))
