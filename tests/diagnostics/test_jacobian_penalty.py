"""A loss that holds single steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.diagnostics import jacobian_penalty
from tests.diagnostics.models import inputs, make_cell
from tests.helpers import check_grads


def test_of_orthogonal_steps_is_zero():
    cell = gs.nn.OrthogonalCell(2, 5, activation_fn=lambda x: x, rngs=nnx.Rngs(0))
    found = jacobian_penalty(gs.nn.RNN(cell), inputs(6), key=jax.random.key(0))
    np.testing.assert_allclose(found, 0, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.25, 3.0])
def test_of_scaled_rotations_is_the_square_of_the_gap(scale):
    cell = nnx.SimpleCell(2, 5, activation_fn=lambda x: x, rngs=nnx.Rngs(0))
    cell.dense_h.kernel[...] = scale * jnp.eye(5)
    found = jacobian_penalty(nnx.RNN(cell), inputs(6), key=jax.random.key(0), probes=3)
    np.testing.assert_allclose(found, (scale - 1) ** 2, rtol=1e-5)


@pytest.mark.parametrize("name", ["flax_elman", "gru"])
def test_has_the_gradient_of_central_differences(name):
    with jax.enable_x64(True):
        model = gs.nn.RNN(make_cell(name, 3))
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        batch, key = inputs(5), jax.random.key(1)

        def penalty(params):
            rnn = nnx.merge(graph, params, rest, copy=True)
            return jacobian_penalty(rnn, batch, key=key, probes=2)

        check_grads(penalty, (params,), 1, modes=["rev"])


def test_has_a_finite_gradient_where_nothing_is_left():
    cell = nnx.SimpleCell(2, 5, rngs=nnx.Rngs(0))
    cell.dense_h.kernel[...] = jnp.zeros((5, 5))
    batch, key = inputs(5), jax.random.key(1)
    slopes = nnx.grad(lambda rnn: jacobian_penalty(rnn, batch, key=key))(
        gs.nn.RNN(cell)
    )
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(slopes))


def test_no_probe_is_refused():
    model = nnx.RNN(nnx.SimpleCell(2, 5, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="`probes` must be an integer >= 1"):
        jacobian_penalty(model, inputs(5), key=jax.random.key(0), probes=0)
