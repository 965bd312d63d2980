"""Lyapunov exponents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.diagnostics import lyapunov_exponents
from tests.helpers import check_grads, random_matrix


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def orthogonal(size):
    return jnp.linalg.qr(random_matrix(0, (size, size), jnp.float64))[0]


def elman(weights, carry, inputs):
    return jnp.tanh(weights @ carry + inputs)


def by_the_book(jacobians, tangents):
    """Benettin's procedure in NumPy, a matrix and a factorization a step."""
    basis, _ = np.linalg.qr(tangents)
    total = np.zeros(basis.shape[1])
    for jacobian in jacobians:
        basis, triangle = np.linalg.qr(jacobian @ basis)
        total += np.log(np.abs(np.diag(triangle)))
    return np.sort(total / len(jacobians))[::-1]


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.3])
def test_of_a_scaled_rotation_are_the_logarithm_of_the_scale(factor):
    matrix = factor * orthogonal(8)
    inputs = random_matrix(1, (300, 8), jnp.float64)
    found = lyapunov_exponents(lambda h, x: matrix @ h + x, jnp.zeros(8), inputs)
    np.testing.assert_allclose(found.values, np.log(factor), rtol=0, atol=1e-13)
    assert np.all(found.standard_error < 1e-13)


def test_of_a_triangular_map_are_those_of_its_diagonal():
    diagonal = jnp.asarray([0.3, 2.0, 0.9])
    matrix = jnp.diag(diagonal) + jnp.triu(jnp.ones((3, 3)), 1)
    run = jax.jit(lambda h: lyapunov_exponents(lambda h, _: matrix @ h, h, steps=3000))
    expected = np.log([2.0, 0.9, 0.3])
    np.testing.assert_allclose(run(jnp.zeros(3)).values, expected, atol=2e-3)


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("every", [1, 4])
def test_equal_those_of_matrices_multiplied_out(count, every):
    weights = 1.4 * random_matrix(0, (5, 5), jnp.float64)
    inputs = random_matrix(1, (30, 5), jnp.float64)
    key = jax.random.key(3)
    found = lyapunov_exponents(
        lambda h, x: elman(weights, h, x),
        jnp.zeros(5),
        inputs,
        count=count,
        orthonormalize_every=every,
        key=key,
    )
    state, jacobians = jnp.zeros(5), []
    for x in inputs:
        jacobians.append(jax.jacfwd(lambda h: elman(weights, h, x))(state))  # noqa: B023
        state = elman(weights, state, x)
    tangents = jax.random.normal(key, (5, count))
    expected = by_the_book(np.asarray(jacobians), np.asarray(tangents))
    # Four steps without a factorization lose digits of the directions that shrink most.
    np.testing.assert_allclose(found.values, expected, rtol={1: 1e-9, 4: 1e-6}[every])


def test_of_all_sum_to_the_logarithm_of_the_determinant():
    weights = random_matrix(0, (4, 4), jnp.float64)
    inputs = random_matrix(1, (20, 4), jnp.float64)
    found = lyapunov_exponents(lambda h, x: elman(weights, h, x), jnp.zeros(4), inputs)
    state, total = jnp.zeros(4), 0.0
    for x in inputs:
        state = elman(weights, state, x)
        total += np.linalg.slogdet((1 - state**2)[:, None] * weights)[1]
    np.testing.assert_allclose(np.sum(found.values), total / 20, rtol=1e-12)


def henon(h, _):
    return jnp.stack([1 - 1.4 * h[0] ** 2 + h[1], 0.3 * h[0]])


def test_of_the_henon_map():
    run = jax.jit(lambda h: lyapunov_exponents(henon, h, steps=100_000, burn_in=100))
    found = run(jnp.full(2, 0.1))
    assert abs(found.values[0] - 0.419) < 0.003
    np.testing.assert_allclose(np.sum(found.values), np.log(0.3), rtol=1e-12)
    # The known value lies within three standard errors, which are of the right size.
    assert abs(found.values[0] - 0.4192) < 3 * found.standard_error[0]
    assert 5e-4 < found.standard_error[0] < 3e-3
    np.testing.assert_allclose(found.kaplan_yorke_dimension, 1.258, atol=3e-3)


def lorenz(h):
    x, y, z = h
    return jnp.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def runge_kutta(h, _, step=0.01):
    a = lorenz(h)
    b = lorenz(h + step / 2 * a)
    c = lorenz(h + step / 2 * b)
    d = lorenz(h + step * c)
    return h + step / 6 * (a + 2 * b + 2 * c + d)


def test_of_the_lorenz_system():
    run = jax.jit(
        lambda h: lyapunov_exponents(
            runge_kutta, h, steps=200_000, burn_in=1000, duration=0.01
        )
    )
    found = run(jnp.ones(3))
    assert abs(found.values[0] - 0.906) < 0.01
    assert abs(found.values[1]) < 0.005
    np.testing.assert_allclose(np.sum(found.values), -41 / 3, rtol=1e-4)
    np.testing.assert_allclose(found.kaplan_yorke_dimension, 2.062, atol=3e-3)


def test_of_a_complex_state_count_real_and_imaginary_parts():
    turn = 0.8 * jnp.exp(0.3j)
    found = lyapunov_exponents(
        lambda h, _: {"z": turn * h["z"]}, {"z": jnp.ones(2, complex)}, steps=50
    )
    np.testing.assert_allclose(found.values, np.full(4, np.log(0.8)), atol=1e-13)


def test_of_a_direction_that_dies_is_minus_infinity():
    shift = jnp.eye(3, k=1)
    found = lyapunov_exponents(lambda h, _: shift @ h, jnp.zeros(3), steps=5)
    assert np.all(np.isneginf(found.values))
    assert np.all(np.isnan(found.standard_error))


def test_of_a_state_that_is_lost_is_nan():
    found = lyapunov_exponents(lambda h, _: h**2, jnp.full(2, 3.0), steps=20)
    assert np.all(np.isnan(found.values))


def test_steps_that_are_masked_are_not_taken():
    weights = random_matrix(0, (3, 3), jnp.float64)
    inputs = random_matrix(1, (12, 3), jnp.float64)
    mask = jnp.arange(12) < 7

    def run(inputs, **options):
        return lyapunov_exponents(
            lambda h, x: elman(weights, h, x), jnp.zeros(3), inputs, **options
        )

    whole = run(inputs.at[7:].set(jnp.nan), mask=mask, burn_in=2)
    part = run(inputs[:7], burn_in=2)
    np.testing.assert_allclose(whole.values, part.values, rtol=1e-12)
    assert np.sum(whole.counted) == 5


def test_burn_in_does_not_count():
    inputs = jnp.concatenate([jnp.full(10, 5.0), jnp.full(90, 0.5)])[:, None]
    found = lyapunov_exponents(lambda h, a: a * h, jnp.ones(1), inputs, burn_in=10)
    np.testing.assert_allclose(found.values, [np.log(0.5)], rtol=1e-12)
    np.testing.assert_allclose(found.running[-1], found.values, rtol=1e-12)


def test_steps_that_share_a_factorization_share_its_growth():
    matrix = jnp.diag(jnp.asarray([2.0, 0.5]))
    found = lyapunov_exponents(
        lambda h, _: matrix @ h,
        jnp.ones(2),
        steps=36,
        burn_in=4,
        orthonormalize_every=8,
        key=jax.random.key(1),
    )
    np.testing.assert_allclose(found.values[0], np.log(2), rtol=1e-3)
    np.testing.assert_allclose(found.running[4:, 0], np.log(2), rtol=1e-2)
    assert found.standard_error[0] < 1e-2


def test_all_of_an_expanding_map_fill_its_space():
    found = lyapunov_exponents(lambda h, _: 1.1 * h, jnp.ones(3), steps=5)
    assert found.kaplan_yorke_dimension == 3
    part = lyapunov_exponents(lambda h, _: 1.1 * h, jnp.ones(3), steps=5, count=2)
    assert np.isnan(part.kaplan_yorke_dimension)


def test_are_rates_in_units_of_the_duration():
    found = lyapunov_exponents(
        lambda h, _: 0.5 * h, jnp.ones(1), steps=10, duration=0.25
    )
    np.testing.assert_allclose(found.values, [np.log(0.5) / 0.25], rtol=1e-12)


def test_a_batch_is_a_vmap():
    weights = random_matrix(0, (3, 3), jnp.float64)
    inputs = random_matrix(1, (2, 12, 3), jnp.float64).reshape(2, 12, 3)

    def run(inputs):
        return lyapunov_exponents(
            lambda h, x: elman(weights, h, x), jnp.zeros(3), inputs
        ).values

    expected = jnp.stack([run(x) for x in inputs])
    np.testing.assert_allclose(jax.vmap(run)(inputs), expected, rtol=1e-12)


def test_can_be_differentiated():
    inputs = random_matrix(1, (6, 4), jnp.float64)

    def total(weights):
        found = lyapunov_exponents(
            lambda h, x: elman(weights, h, x), jnp.zeros(4), inputs, count=2
        )
        return jnp.sum(found.values * jnp.asarray([1.0, 0.5]))

    check_grads(total, (random_matrix(0, (4, 4), jnp.float64),), 1, modes=["rev"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Give either `inputs` or `steps`"),
        ({"steps": 0}, "`steps` must be an integer >= 1"),
        ({"steps": 4, "count": 3}, r"`count` must be an integer in \[1, 2\]"),
        ({"steps": 4, "burn_in": 4}, r"`burn_in` must be an integer in \[0, 3\]"),
        ({"steps": 4, "orthonormalize_every": 0}, "`orthonormalize_every` must be"),
        ({"steps": 4, "duration": 0.0}, "`duration` must be above 0"),
    ],
)
def test_bad_numbers_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        lyapunov_exponents(henon, jnp.zeros(2), **options)


def test_a_state_without_numbers_is_refused():
    with pytest.raises(ValueError, match="`carry` must hold floating-point numbers"):
        lyapunov_exponents(lambda h, _: h, jnp.zeros(2, int), steps=3)
