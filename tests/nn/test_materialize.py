import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs


class Model(nnx.Module):
    def __init__(self, *, rngs):
        self.dense = nnx.Linear(3, 4, rngs=rngs)
        self.turn = gs.nn.Cayley((4, 4), rngs=rngs)

    def __call__(self, inputs):
        return self.dense(inputs) @ self.turn()


pytestmark = pytest.mark.usefixtures("nnx_mode")


def test_is_a_view_and_idempotent():
    model = Model(rngs=nnx.Rngs(0))
    once = gs.nn.materialize(model)
    assert isinstance(model.turn, gs.nn.Cayley)
    assert isinstance(once.turn, gs.nn.Materialized)
    assert once.dense.kernel is model.dense.kernel
    np.testing.assert_array_equal(gs.nn.materialize(once).turn(), model.turn())


def test_gradients_pass_through():
    def loss(model, transform):
        return jnp.sum(transform(model)(jnp.ones((2, 3))) ** 3)

    model = Model(rngs=nnx.Rngs(0))
    through = jax.grad(loss)(model, gs.nn.materialize)
    direct = jax.grad(loss)(model, lambda m: m)
    np.testing.assert_allclose(through.turn.skew[...], direct.turn.skew[...], rtol=1e-5)


def test_leaves_a_variable_that_stock_layers_read():
    layer = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    kernel = gs.nn.Cayley((4, 4), rngs=nnx.Rngs(1))
    setattr(layer, "kernel", kernel)  # noqa: B010 - no type for a changed layer
    inputs = jax.random.normal(jax.random.key(0), (2, 4))
    outputs = gs.nn.materialize(layer)(inputs)
    np.testing.assert_allclose(outputs, inputs @ kernel(), atol=1e-6)


def test_linen_sees_every_parameter():
    linen = nnx.bridge.to_linen(Model)
    variables = linen.init(jax.random.key(0), jnp.ones((2, 3)))
    assert set(variables) == {"params"}
    shapes = jax.tree.map(jnp.shape, variables["params"]["turn"])
    assert shapes == {"skew": (4, 4)}
