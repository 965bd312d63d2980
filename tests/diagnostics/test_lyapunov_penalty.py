"""A loss that moves exponents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.diagnostics import lyapunov_exponents, lyapunov_penalty
from tests.diagnostics.models import inputs, make_cell
from tests.helpers import check_grads


@pytest.mark.parametrize("name", ["flax_gru", "gru", "lstm"])
@pytest.mark.parametrize("layer", [nnx.RNN, gs.nn.RNN], ids=["flax", "ours"])
def test_is_the_mean_square_of_exponents(name, layer):
    with jax.enable_x64(True):
        cell = make_cell(name, 3)
        batch = inputs(10, batch=6)
        found = lyapunov_penalty(layer(cell), batch, count=2, target=-0.1, sequences=3)
        built = gs.nn.materialize(cell)
        squares = []
        for sequence in batch[:3]:
            start = jax.tree.map(
                lambda x: jnp.zeros(x.shape),
                cell.initialize_carry(sequence.shape[1:], nnx.Rngs(0)),
            )
            values = lyapunov_exponents(
                lambda h, x: built(h, x)[0],  # noqa: B023
                start,
                sequence,
                count=2,
            ).values
            squares.append((values + 0.1) ** 2)
    np.testing.assert_allclose(found, np.mean(squares), rtol=1e-9)


def test_has_the_gradient_of_central_differences():
    with jax.enable_x64(True):
        batch = inputs(6)
        model = gs.nn.RNN(make_cell("flax_elman", 3))
        graph, params, rest = nnx.split(model, nnx.Param, ...)

        def penalty(params):
            rnn = nnx.merge(graph, params, rest, copy=True)
            return lyapunov_penalty(rnn, batch, count=2)

        check_grads(penalty, (params,), 1, modes=["rev"])


def test_descent_brings_exponents_to_the_target():
    with jax.enable_x64(True):
        batch = 0.1 * inputs(20)
        model = gs.nn.RNN(make_cell("flax_elman", 4))
        graph, params, rest = nnx.split(model, nnx.Param, ...)

        @jax.jit
        def descend(params):
            def penalty(params):
                rnn = nnx.merge(graph, params, rest, copy=True)
                return lyapunov_penalty(rnn, batch, count=2, burn_in=5)

            value, slopes = jax.value_and_grad(penalty)(params)
            return value, jax.tree.map(lambda p, g: p - 0.3 * g, params, slopes)

        values = []
        for _ in range(200):
            value, params = descend(params)
            values.append(float(value))
    assert values[-1] < 1e-2 * values[0]


def test_time_may_come_first_and_run_backwards():
    batch = inputs(8)
    cell = nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))
    expected = lyapunov_penalty(nnx.RNN(cell), batch, count=1)
    first = nnx.RNN(cell, time_major=True)
    found = lyapunov_penalty(first, jnp.swapaxes(batch, 0, 1), count=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    backwards = nnx.RNN(cell, reverse=True)
    found = lyapunov_penalty(backwards, batch[:, ::-1], count=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_cells_that_draw_are_refused():
    cell = gs.nn.HDetachLSTMCell(2, 3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`rnn` must not draw at every step"):
        lyapunov_penalty(gs.nn.RNN(cell, rngs=nnx.Rngs(0)), inputs(4), count=1)


def test_other_modules_and_shapes_are_refused():
    cell = nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`rnn` must be an `nnx.RNN`"):
        lyapunov_penalty(cell, inputs(4), count=1)
    with pytest.raises(ValueError, match="`inputs` must have axes of batch, time"):
        lyapunov_penalty(nnx.RNN(cell), inputs(4)[0], count=1)
    with pytest.raises(ValueError, match="`count` must be an integer >= 1"):
        lyapunov_penalty(nnx.RNN(cell), inputs(4), count=0)
