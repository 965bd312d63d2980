import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics._flow import (
    error_per_step,
    flow_and_tangent,
    follower,
    in_own_unit,
)

TURN = np.array([[-0.1, -1.0], [1.0, -0.1]])


def test_is_the_closed_form_of_a_linear_flow(dtype):
    matrix = jnp.asarray(TURN, dtype)
    start, time = jnp.asarray([1.0, 0.5], dtype), jnp.asarray(2.0, dtype)
    limit = 100 * error_per_step(jnp.dtype(dtype))
    (path,) = follower(lambda h: matrix @ h)(start, 2.0, 1)
    assert path.states.dtype == dtype
    assert path.times[-1] == 2
    for passed, state in zip(path.times, path.states, strict=True):
        expected = jax.scipy.linalg.expm(jnp.asarray(passed, dtype) * matrix) @ start
        np.testing.assert_allclose(state, expected, atol=limit)
    np.testing.assert_allclose(path.velocities, path.states @ matrix.T, atol=limit)
    tangent = jax.jit(lambda h, t: flow_and_tangent(lambda h: matrix @ h, h, t))
    end, derivative = tangent(start, time)
    np.testing.assert_allclose(end, path.states[-1], atol=limit)
    expected = jax.scipy.linalg.expm(time * matrix)
    np.testing.assert_allclose(derivative, expected, atol=limit)
    np.testing.assert_array_equal(tangent(start, 0 * time)[1], np.eye(2))


@pytest.mark.parametrize("speed", [1e-6, 1e6])
def test_follows_for_any_number_of_steps_in_any_unit_of_time(speed):
    """In single precision; a turn takes dozens of steps, all take more than a chunk."""
    matrix, turns = jnp.asarray([[0.0, -1.0], [1.0, 0.0]]), 2 * np.pi * 200
    start = jnp.asarray([1.0, 0.0])
    follow = follower(lambda h: speed * (matrix @ h))
    pieces = list(follow(start, turns / speed, 10**6))
    assert len(pieces) > 1
    assert sum(piece.times[-1] for piece in pieces) * speed == pytest.approx(turns)
    for before, after in zip(pieces[:-1], pieces[1:], strict=True):
        np.testing.assert_array_equal(before.states[-1], after.states[0])
    assert len(list(follow(start, turns / speed, 1))) == 1


def test_what_cannot_be_followed():
    with pytest.raises(FloatingPointError, match="could not be followed"):
        list(follower(lambda h: h**2)(jnp.ones(1), 2.0, 10**6))
    end, tangent = flow_and_tangent(lambda h: h**2, jnp.ones(1), jnp.asarray(2.0))
    assert np.all(np.isnan(end))
    assert np.all(np.isnan(tangent))


def test_own_unit():
    field, unit = in_own_unit(lambda h: h**2, jnp.asarray([3e-9, -1e-9]))
    assert unit == 2.0**-28
    np.testing.assert_array_equal(field(jnp.ones(2)), np.full(2, unit))
    assert in_own_unit(lambda h: h, jnp.zeros(2))[1] == 1
