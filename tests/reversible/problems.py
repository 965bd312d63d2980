"""A small problem, and training as it is usually differentiated."""

import jax
import jax.numpy as jnp
import numpy as np

from gradstab.reversible import Schedules

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(40, 3))
TARGETS = np.sin(INPUTS @ RNG.normal(size=(3, 2)))
WEIGHTS = {"kernel": RNG.normal(size=(3, 2)) / 2, "bias": np.zeros(2)}


def weights(dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), WEIGHTS)


def hyper(dtype):
    """A penalty, a shift of the targets, and a number that nobody differentiates."""
    return {
        "log_penalty": jnp.asarray(-4.0, dtype),
        "shift": jnp.asarray([0.1, -0.2], dtype),
        "batch": jnp.asarray(10),
    }


def loss(params, theta, step):
    """Squared error on the minibatch of the step, with a penalty."""
    dtype = params["bias"].dtype
    first = step * 10 % 40
    x, y = (
        jax.lax.dynamic_slice_in_dim(jnp.asarray(data, dtype), first, 10)
        for data in (INPUTS, TARGETS)
    )
    found = jnp.tanh(x @ params["kernel"] + params["bias"][None])
    squares = sum(jnp.sum(w**2) for w in jax.tree.leaves(params))
    error = found - y - theta["shift"].astype(dtype)[None]
    return jnp.mean(error**2) + jnp.exp(theta["log_penalty"]).astype(dtype) * squares


def objective(params, theta):
    """The error on all data; the shift enters directly too."""
    return loss(params, {**theta, "log_penalty": -10 + theta["log_penalty"]}, 1)


def unrolled(loss, params, schedules, theta, steps):
    """The training in floating point, for reverse mode to store."""
    full = [
        jax.tree.map(lambda x: jnp.broadcast_to(x, (steps,)), tree)
        for tree in (
            jax.tree.broadcast(schedules.step_size, params),
            jax.tree.broadcast(schedules.momentum, params),
        )
    ]

    def body(state, inputs):
        x, v = state
        t, alpha, beta = inputs
        g = jax.grad(loss)(x, theta, t)
        v = jax.tree.map(lambda v, g, b: b * v - (1 - b) * g, v, g, beta)
        x = jax.tree.map(lambda x, v, a: x + a * v, x, v, alpha)
        return (x, v), None

    start = params, jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(body, start, (jnp.arange(steps), *full))[0][0]


def schedules(steps, dtype):
    """Rates of each step for a group, and constant ones for the other."""
    falling = jnp.linspace(0.3, 0.1, steps, dtype=dtype)
    rising = jnp.linspace(0.5, 0.95, steps, dtype=dtype)
    number = jnp.asarray(0.2, dtype)
    return Schedules(
        {"kernel": falling, "bias": number},
        {"kernel": jnp.full_like(number, 0.9), "bias": rising},
    )
