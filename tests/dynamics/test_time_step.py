from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics import Euler, time_step


def lorenz(h):
    x, y, z = h
    return jnp.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def test_is_the_map_of_the_flow():
    advance = time_step(lambda h: -h, 0.5)
    np.testing.assert_allclose(advance(jnp.ones((2, 3))), np.exp(-0.5), rtol=1e-6)
    by_euler = time_step(lambda h: -h, 0.5, integrator=Euler(0.25))
    np.testing.assert_allclose(by_euler(jnp.ones(1)), 0.75**2, rtol=1e-6)


@pytest.mark.usefixtures("double")
def test_lyapunov_exponents_of_the_lorenz_system():
    """0.906, 0 and -14.57, whose sum is the trace of the Jacobian."""
    duration = 0.05
    advance = time_step(lorenz, duration)

    def stretch(carry, _):
        h, frame = carry
        h, push = jax.linearize(advance, h)
        frame, growth = jnp.linalg.qr(jax.vmap(push, 1, 1)(frame))
        return (h, frame), jnp.log(jnp.abs(jnp.diagonal(growth)))

    @jax.jit
    def exponents(start):
        settled, _ = jax.lax.scan(stretch, start, length=500)
        return jnp.mean(jax.lax.scan(stretch, settled, length=20_000)[1], 0) / duration

    found = exponents((jnp.asarray([1.0, 1.0, 20.0]), jnp.eye(3)))
    np.testing.assert_allclose(found, [0.906, 0.0, -14.572], atol=0.02)
    np.testing.assert_allclose(np.sum(found), -(10 + 1 + 8 / 3), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((lorenz, 0.0), "duration"),
        ((3, 1.0), "field"),
    ],
)
def test_rejects_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        time_step(*arguments)
    with pytest.raises(ValueError, match="`integrator` must be an Integrator"):
        time_step(lorenz, 1.0, integrator=cast(Any, "euler"))
