import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gradstab.diagnostics import gradient_conflict
from gradstab.gradients import reverse_gradient
from tests.helpers import random_matrix


def toward(target):
    """A loss whose gradient at 0 is -target, that of JAX: conjugated."""

    def loss(tree):
        gaps = jax.tree.map(lambda x, t: jnp.sum(jnp.abs(x - t) ** 2), tree, target)
        return jax.tree.reduce(jnp.add, gaps) / 2

    return loss


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_is_the_angle_between_the_gradients(dtype):
    one = {"a": random_matrix(0, (3, 4), dtype), "b": random_matrix(1, (5,), dtype)}
    other = {"a": random_matrix(2, (3, 4), dtype), "b": random_matrix(3, (5,), dtype)}
    found = jax.jit(lambda at: gradient_conflict(toward(one), toward(other), at))(
        jax.tree.map(jnp.zeros_like, one)
    )
    flat = [np.concatenate([np.ravel(x) for x in t.values()]) for t in (one, other)]
    norms = [np.linalg.norm(x) for x in flat]
    expected = np.vdot(*flat).real / np.prod(norms)
    np.testing.assert_allclose(found, [expected, *norms], rtol=1e-5)


def test_a_reversed_gradient_undoes_the_other():
    def loss(x):
        return jnp.sum(jnp.sin(x))

    found = gradient_conflict(
        loss, lambda x: loss(reverse_gradient(x, 3.0)), jnp.ones(4)
    )
    np.testing.assert_allclose(found.cosine, -1, rtol=1e-6)
    np.testing.assert_allclose(found.second_norm, 3 * found.first_norm, rtol=1e-6)


def test_parameters_of_a_model_are_a_point():
    graph, params = nnx.split(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))

    def loss(factor):
        return lambda p: factor * jnp.sum(nnx.merge(graph, p)(jnp.ones((1, 3))) ** 2)

    assert gradient_conflict(loss(1), loss(2), params).cosine == pytest.approx(1)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_no_square_overflows_or_vanishes(size):
    one, other = size * jnp.asarray([3.0, 4.0]), jnp.asarray([4.0, 3.0]) / size
    found = gradient_conflict(
        lambda x: jnp.sum(x * one), lambda x: jnp.sum(x * other), jnp.zeros(2)
    )
    np.testing.assert_allclose(found, [24 / 25, 5 * size, 5 / size], rtol=1e-5)


def test_a_gradient_of_zero_has_no_angle_and_one_that_is_not_finite_shows():
    def flat(x):
        return jnp.sum(x * 0.0)

    def broken(x):
        return jnp.sum(x * jnp.nan)

    at = jnp.ones(5000)
    assert gradient_conflict(flat, jnp.sum, at) == (0, 0, pytest.approx(5000**0.5))
    found = gradient_conflict(broken, jnp.sum, at)
    assert np.isnan(found.cosine)
    assert np.isnan(found.first_norm)


def test_low_precision_is_summed_in_float32():
    at = jnp.full(1000, 0.1, "bfloat16")
    found = gradient_conflict(jnp.sum, lambda x: -jnp.sum(x), at)
    np.testing.assert_allclose(found, [-1, 1000**0.5, 1000**0.5], rtol=1e-5)
