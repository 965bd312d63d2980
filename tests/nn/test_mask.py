import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs


class Model(nnx.Module):
    def __init__(self, *, rngs):
        self.dense = nnx.Linear(3, 4, rngs=rngs)
        self.turn = gs.nn.Cayley((4, 4), rngs=rngs)
        self.stretch = gs.nn.SVD((4, 2), rngs=rngs)


@pytest.mark.usefixtures("nnx_mode")
def test_selects_coordinates():
    mask = nnx.to_pure_dict(gs.nn.unconstrained_mask(Model(rngs=nnx.Rngs(0))))
    assert mask == {
        "dense": {"bias": False, "kernel": False},
        "turn": {"skew": True},
        "stretch": {"left": True, "right": True, "spectrum": True},
    }


def test_a_parametrization_alone_is_all_coordinates():
    mask = gs.nn.unconstrained_mask(gs.nn.Cayley((4, 4), rngs=nnx.Rngs(0)))
    assert nnx.to_pure_dict(mask) == {"skew": True}


def test_works_with_optax():
    model = Model(rngs=nnx.Rngs(0))
    mask = gs.nn.unconstrained_mask(model)
    decayed = jax.tree.map(lambda coordinate: not coordinate, mask)
    tx = optax.chain(optax.add_decayed_weights(0.1, mask=decayed), optax.sgd(1.0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model)))
    optimizer.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.Param)))
    after = nnx.to_pure_dict(nnx.state(model))
    np.testing.assert_array_equal(after["turn"]["skew"], before["turn"]["skew"])
    kernel = 0.9 * before["dense"]["kernel"]
    np.testing.assert_allclose(after["dense"]["kernel"], kernel, rtol=1e-6)
