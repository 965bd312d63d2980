import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

import gradstab as gs
from experiments.gradient_profile import gradient_profile

TIME, BATCH, HIDDEN = 4, 2, 3


def make_cell(name):
    rngs = nnx.Rngs(0)
    if name == "orthogonal":
        recurrent = gs.nn.Cayley((HIDDEN, HIDDEN), param_dtype=jnp.float64, rngs=rngs)
        return gs.nn.OrthogonalCell(
            2, HIDDEN, recurrent=recurrent, param_dtype=jnp.float64, rngs=rngs
        )
    return nnx.LSTMCell(
        2, HIDDEN, dtype=jnp.float64, param_dtype=jnp.float64, rngs=rngs
    )


def losses(outputs):
    # Every output counts, the last one most.
    weights = jnp.arange(1.0, TIME + 1)[None, :, None]
    return jnp.sum(weights * outputs**2, axis=(1, 2))


def losses_after_pushes(cell, inputs, pushes):
    """Runs step by step; pushes[t] is added to the carry that enters step t."""
    carry = cell.initialize_carry(inputs[:, 0].shape, nnx.Rngs(0))
    flat, rebuild = ravel_pytree(carry)
    outputs = []
    for step, push in enumerate(pushes.reshape(TIME, flat.size)):
        carry = jax.tree.map(jnp.add, carry, rebuild(push))
        carry, output = cell(carry, inputs[:, step])
        outputs.append(output)
    return losses(jnp.stack(outputs, axis=1))


# An LSTM carries two arrays.
@pytest.mark.parametrize(("name", "carried"), [("lstm", 2), ("orthogonal", 1)])
def test_agrees_with_central_differences(name, carried):
    with jax.enable_x64(True):
        cell = make_cell(name)
        inputs = jax.random.normal(jax.random.key(1), (BATCH, TIME, 2), jnp.float64)
        profile = gradient_profile(cell, losses, inputs)
        assert profile.shape == (TIME, BATCH)

        directions = np.eye(TIME * carried * BATCH * HIDDEN) * 1e-5
        run = jax.jit(jax.vmap(lambda p: losses_after_pushes(cell, inputs, p)))
        slopes = (run(directions) - run(-directions)) / 2e-5
        norms = np.linalg.norm(slopes.reshape(TIME, -1, BATCH), axis=1)
        np.testing.assert_allclose(profile, norms, rtol=1e-7)


def identity(x):
    return x


def test_an_orthogonal_linear_recurrence_keeps_its_gradient():
    with jax.enable_x64(True):
        options = {"param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}
        recurrent = gs.nn.ScaledCayley((6, 6), **options)
        cell = gs.nn.OrthogonalCell(
            1, 6, recurrent=recurrent, activation_fn=identity, **options
        )
        inputs = jax.random.normal(jax.random.key(2), (3, 300, 1), jnp.float64)
        profile = gradient_profile(cell, lambda ys: jnp.sum(ys[:, -1], -1), inputs)
        np.testing.assert_allclose(profile, np.sqrt(6), rtol=1e-12)
