import jax
import jax.numpy as jnp
import numpy as np

from gradstab.nn._signs import unit


def test_reads_directions_and_never_lengths():
    np.testing.assert_array_equal(unit(jnp.array([0.3, -1e-9, 0.0])), [1, -1, 1])
    phases = unit(jnp.array([2j, 0.0, -0.5]))
    np.testing.assert_allclose(phases, [1j, 1, -1], atol=1e-7)


def test_has_no_gradient_and_keeps_nan():
    gradient = jax.grad(lambda s: jnp.sum(unit(s)))(jnp.array([0.5, -2.0]))
    np.testing.assert_array_equal(gradient, 0.0)
    assert np.isnan(unit(jnp.array([jnp.nan]))[0])
