import jax
import jax.numpy as jnp
import numpy as np

from gradstab.reversible._exact_rational import ExactRational
from gradstab.reversible._fixed_point import FixedPoint
from gradstab.reversible._momentum_step import (
    at_rest,
    step,
    undo_position,
    undo_velocity,
    velocity_of,
)
from gradstab.reversible._rates import Rates

FIXED = FixedPoint(False, 24)


def rate(alpha, n, d, scale=1.0):
    return Rates(
        jnp.asarray(alpha),
        jnp.asarray(n / d),
        ExactRational(jnp.asarray(n, jnp.uint32), jnp.asarray(d, jnp.uint32)),
        jnp.asarray(False),
        jnp.asarray(scale),
    )


def test_moves_as_the_equations_say_and_back_bit_for_bit():
    x = jnp.asarray([0.3, -1.2, 7.0])
    state, passed = at_rest(FIXED, x), []
    position, velocity = np.asarray(x, np.float64), np.zeros(3)
    for k in range(8):
        g = jax.random.normal(jax.random.key(k), (3,))
        now = rate(0.1 * (k + 1), 9 + k, 10 + k)
        beta = float(now.momentum)
        velocity = beta * velocity - (1 - beta) * np.asarray(g, np.float64)
        position = position + float(now.step_size) * velocity
        passed.append((state, g, now))
        state, is_held = step(FIXED, state, g, now)
        assert is_held
        atol = 4 * (k + 1) * 2.0**-24
        np.testing.assert_allclose(FIXED.to_float(state.velocity), velocity, atol=atol)
        np.testing.assert_allclose(FIXED.to_float(state.position), position, atol=atol)
    for before, g, now in reversed(passed):
        after = state.velocity
        state = undo_position(FIXED, state, now)
        np.testing.assert_array_equal(
            velocity_of(FIXED, state, now), FIXED.to_float(after)
        )
        state = undo_velocity(FIXED, state, g, now)
        jax.tree.map(np.testing.assert_array_equal, state, before)


def test_tells_what_cannot_be_held():
    state = at_rest(FIXED, jnp.asarray([127.0]))
    for g, alpha in [(-20.0, 1.0), (2000.0, 0.0), (np.nan, 0.1)]:
        assert not step(FIXED, state, jnp.asarray([g]), rate(alpha, 9, 10))[1]
    assert step(FIXED, state, jnp.asarray([-5.0]), rate(1.0, 9, 10))[1]


def test_tells_of_increments_that_cannot_be_held_between_numbers_that_can():
    """Positions from -100 by 150 to 50, velocities from 126 by -200 to -87."""
    state = at_rest(FIXED, jnp.asarray([-100.0]))
    assert not step(FIXED, state, jnp.asarray([-200.0]), rate(1.5, 1, 2))[1]
    fast = state._replace(velocity=FIXED.quantize(jnp.asarray([126.0])))
    assert not step(FIXED, fast, jnp.asarray([2000.0]), rate(0.0, 9, 10))[1]
