"""A diagnosis inside of a compiled training step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from gradstab.diagnostics import Monitor, diagnose
from tests.diagnostics.models import Reader, inputs, mean_square

QUICK: dict[str, Any] = {"exponents": 2, "jacobians": 2, "probes": 4}


def make():
    model = Reader(nnx.RNN(nnx.GRUCell(2, 3, rngs=nnx.Rngs(0))), 3)
    return model, nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)


def test_measures_every_so_many_steps_without_callbacks():
    monitor = Monitor(mean_square, every=3, **QUICK)
    model, optimizer = make()
    batch = inputs(8)
    state = monitor.init(model, batch)

    def train_step(model, optimizer, batch, state):
        state = monitor.update(state, model, batch)
        gradients = nnx.grad(mean_square)(model, batch)
        optimizer.update(model, gradients)
        return state

    compiled = nnx.jit(train_step)
    expected = None
    for step in range(5):
        if step % 3 == 0:
            expected = diagnose(model, batch, mean_square, **QUICK)
        state = compiled(model, optimizer, batch, state)
        assert int(state.updates) == step + 1
        assert int(state.measured_at) == step - step % 3
        assert expected is not None
        found = monitor.report(state).to_dict()
        wanted = expected.to_dict()
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-5)


def test_has_no_callback_in_its_program():
    monitor = Monitor(mean_square, every=3, **QUICK)
    model, _ = make()
    batch = inputs(8)
    state = monitor.init(model, batch)
    graph, leaves = nnx.split(model)

    def update(leaves, state):
        return monitor.update(state, nnx.merge(graph, leaves), batch)

    assert "callback" not in jax.jit(update).lower(leaves, state).as_text()


def test_has_nan_before_the_first_measurement():
    monitor = Monitor(mean_square, every=3, **QUICK)
    model, _ = make()
    state = monitor.init(model, inputs(8))
    assert np.isnan(state.measurement.loss)
    with pytest.raises(ValueError, match="nothing is measured yet"):
        monitor.report(state)


@pytest.mark.parametrize(
    "options", [{"every": 0}, {"every": 1, "exponents": 0}, {"every": 1, "probes": 0}]
)
def test_numbers_below_one_are_refused(options):
    with pytest.raises(ValueError, match="must be an integer >= 1, got 0"):
        Monitor(mean_square, **options)


def test_a_model_that_diverges_is_measured():
    monitor = Monitor(mean_square, every=1, **QUICK)
    model, _ = make()
    assert isinstance(model.rnn.cell, nnx.GRUCell)
    model.rnn.cell.dense_i.kernel[...] = jnp.full((2, 9), jnp.nan)
    batch = inputs(8)
    state = monitor.update(monitor.init(model, batch), model, batch)
    assert monitor.report(state).verdict == "exploding"
