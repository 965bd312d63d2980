"""How far back a state remembers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.diagnostics import reach
from tests.helpers import random_matrix

STEPS, SIZE = 12, 5


def elman(carry, inputs):
    weights = jnp.asarray(random_matrix(0, (SIZE, SIZE), jnp.float32), carry.dtype)
    return jnp.tanh(weights @ carry + inputs)


def products(inputs):
    """Multiplies the Jacobians out: ∂h_T/∂h_t for each t."""
    state, jacobians = jnp.zeros(SIZE), []
    for x in inputs:
        jacobians.append(jax.jacfwd(elman)(state, x))
        state = elman(state, x)
    found, product = [], np.eye(SIZE)
    for jacobian in reversed(jacobians):
        product = product @ np.asarray(jacobian)
        found.append(product)
    return found[::-1]


def test_with_a_probe_for_each_number_is_exact():
    with jax.enable_x64(True):
        inputs = random_matrix(1, (STEPS, SIZE), jnp.float64)
        found = reach(elman, jnp.zeros(SIZE), inputs, probes=99)
        expected = products(inputs)
    means = [np.log(np.linalg.norm(m) / SIZE**0.5) for m in expected]
    largest = [np.log(np.linalg.norm(m, 2)) for m in expected]
    np.testing.assert_allclose(found.log_mean, means, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.log_largest, largest, rtol=0, atol=1e-10)


def test_with_few_probes_is_right_on_average_and_from_below():
    with jax.enable_x64(True):
        inputs = random_matrix(1, (STEPS, SIZE), jnp.float64)
        keys = jax.random.split(jax.random.key(0), 4000)
        found = jax.jit(
            jax.vmap(
                lambda key: reach(elman, jnp.zeros(SIZE), inputs, probes=2, key=key)
            )
        )(keys)
        expected = products(inputs)
    squares = np.mean(np.exp(2 * np.asarray(found.log_mean)), axis=0)
    norms = [np.linalg.norm(m) ** 2 / SIZE for m in expected]
    np.testing.assert_allclose(squares, norms, rtol=0.05)
    largest = [np.log(np.linalg.norm(m, 2)) for m in expected]
    assert np.all(np.asarray(found.log_largest) <= np.asarray(largest) + 1e-10)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_neither_overflows_nor_underflows(factor):
    inputs = jnp.zeros((1000, SIZE))
    found = reach(lambda h, x: factor * h + x, jnp.zeros(SIZE), inputs)
    expected = np.log(factor) * np.arange(1000, 0, -1)
    np.testing.assert_allclose(found.log_mean, expected, rtol=1e-4)
    np.testing.assert_allclose(found.log_largest, expected, rtol=1e-4)


def test_a_single_direction_is_found_among_many():
    with jax.enable_x64(True):
        size = 64
        left, right = (random_matrix(seed, (size,), jnp.float64) for seed in (0, 1))
        left, right = left / jnp.linalg.norm(left), right / jnp.linalg.norm(right)
        one = 0.5 * left[:, None] * right[None]

        def step(h, x):
            return jnp.where(x > 0, one @ h, h)

        found = reach(step, jnp.zeros(size), jnp.asarray([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(found.log_largest[0], np.log(0.5), atol=1e-6)


def test_of_what_dies_is_minus_infinity():
    found = reach(lambda h, x: 0 * h + x, jnp.zeros(SIZE), jnp.zeros((3, SIZE)))
    assert np.all(np.isneginf(found.log_mean))
    assert np.all(np.isneginf(found.log_largest))


def test_steps_that_are_masked_are_not_taken():
    inputs = random_matrix(1, (STEPS, SIZE), jnp.float32)
    mask = jnp.arange(STEPS) < 7
    spoilt = inputs.at[7:].set(jnp.nan)
    whole = reach(elman, jnp.zeros(SIZE), spoilt, mask=mask)
    part = reach(elman, jnp.zeros(SIZE), inputs[:7])
    np.testing.assert_allclose(whole.log_mean[:7], part.log_mean, atol=1e-5)
    np.testing.assert_allclose(whole.log_largest[7:], 0, atol=1e-5)


def test_no_probe_is_refused():
    with pytest.raises(ValueError, match="`probes` must be an integer >= 1"):
        reach(elman, jnp.zeros(SIZE), jnp.zeros((3, SIZE)), probes=0)
