"""The identity that leaves a norm."""

import jax
import jax.numpy as jnp
import numpy as np

from gradstab.diagnostics._norm_probe import norm_probe, trailing_norm
from tests.helpers import random_matrix


def test_is_the_identity_with_its_own_gradient(any_dtype):
    x = {
        "a": random_matrix(0, (3, 4), any_dtype),
        "b": random_matrix(1, (3,), any_dtype),
    }
    slot = jnp.zeros(3, jnp.finfo(any_dtype).dtype)
    weights = jax.tree.map(lambda leaf: leaf * (2 + leaf), x)

    def loss(x, slot):
        probed = norm_probe(x, slot)
        parts = jax.tree.map(lambda w, y: jnp.sum((w * y).real), weights, probed)
        return jax.tree.reduce(jnp.add, parts)

    jax.tree.map(np.testing.assert_array_equal, norm_probe(x, slot), x)
    gradients, norms = jax.jit(jax.grad(loss, argnums=(0, 1)))(x, slot)
    plain = jax.grad(loss)(x, slot)
    jax.tree.map(np.testing.assert_array_equal, gradients, plain)
    squares = np.sum(np.abs(gradients["a"]) ** 2, axis=1) + np.abs(gradients["b"]) ** 2
    np.testing.assert_allclose(norms, np.sqrt(squares), rtol=1e-6)
    assert norms.dtype == slot.dtype


def test_counters_pass_through():
    x = {"count": jnp.arange(3), "state": jnp.ones((3, 2))}
    norms = jax.grad(lambda slot: jnp.sum(norm_probe(x, slot)["state"]))(jnp.zeros(3))
    np.testing.assert_allclose(norms, np.full(3, 2**0.5), rtol=1e-6)


def test_no_square_overflows_or_vanishes():
    for scale in (1e-30, 1e30):
        x = jnp.full((2, 3), scale, jnp.float32)
        expected = np.full(2, 3**0.5 * scale)
        np.testing.assert_allclose(trailing_norm(x, 1), expected, rtol=1e-6)


def test_what_is_not_finite_stays_so():
    x = jnp.asarray([[1.0, jnp.inf], [jnp.nan, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(trailing_norm(x, 1), [np.inf, np.nan, 0.0])


def test_a_nan_among_many_is_not_lost():
    x = jnp.ones((1, 8192)).at[0, 17].set(jnp.nan)
    assert np.isnan(trailing_norm(x, 1))


def test_half_precision_is_summed_in_single():
    x = jnp.full((1, 4096), 300.0, jnp.float16)
    assert trailing_norm(x, 1).dtype == jnp.float32
    np.testing.assert_allclose(trailing_norm(x, 1), [300 * 64.0], rtol=1e-6)
