import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs


class Model(nnx.Module):
    def __init__(self, *, rngs):
        self.dense = nnx.Linear(3, 4, rngs=rngs)
        self.turn = gs.nn.Exponential((4, 4), rngs=rngs)
        self.shift = gs.nn.Cayley((4, 4), rngs=rngs)


pytestmark = pytest.mark.usefixtures("nnx_mode")


@pytest.mark.parametrize("jit", [lambda f: f, jax.jit, nnx.jit])
def test_moves_base_points_and_no_matrix(jit):
    model = Model(rngs=nnx.Rngs(0))
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model)))
    moved = jit(gs.nn.refresh)(model)
    np.testing.assert_array_equal(moved.turn.skew[...], 0.0)
    np.testing.assert_allclose(moved.turn(), model.turn(), atol=1e-6)
    np.testing.assert_array_equal(moved.shift(), model.shift())
    np.testing.assert_array_equal(moved.dense.kernel[...], model.dense.kernel[...])
    chex.assert_trees_all_equal(before, nnx.to_pure_dict(nnx.state(model)))


def test_refreshes_a_parametrization_alone():
    turn = gs.nn.Exponential((4, 4), rngs=nnx.Rngs(0))
    moved = gs.nn.refresh(turn)
    assert jnp.all(moved.skew[...] == 0)
    np.testing.assert_allclose(moved(), turn(), atol=1e-6)
