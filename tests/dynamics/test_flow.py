import jax
import jax.numpy as jnp
import numpy as np

from gradstab.dynamics._flow import error_per_step, flow_and_tangent, trajectory

TURN = np.array([[-0.1, -1.0], [1.0, -0.1]])


def test_is_the_closed_form_of_a_linear_flow(dtype):
    matrix = jnp.asarray(TURN, dtype)
    start, times = jnp.asarray([1.0, 0.5], dtype), jnp.asarray([0, 0.5, 2], dtype)
    flow = jax.jit(lambda h, t: trajectory(lambda h: matrix @ h, h, t))
    limit = 100 * error_per_step(jnp.dtype(dtype))
    states = flow(start, times)
    assert states.dtype == dtype
    for state, time in zip(states, times, strict=True):
        expected = jax.scipy.linalg.expm(time * matrix) @ start
        np.testing.assert_allclose(state, expected, atol=limit)
    tangent = jax.jit(lambda h, t: flow_and_tangent(lambda h: matrix @ h, h, t))
    end, derivative = tangent(start, times[2])
    np.testing.assert_allclose(end, states[2], atol=limit)
    expected = jax.scipy.linalg.expm(times[2] * matrix)
    np.testing.assert_allclose(derivative, expected, atol=limit)
    np.testing.assert_array_equal(tangent(start, times[0])[1], np.eye(2))


def test_what_cannot_be_followed_is_not_a_number():
    times = jnp.linspace(0, 2, 3)
    assert np.all(np.isnan(trajectory(lambda h: h**2, jnp.ones(1), times)))
