"""What the gates of known cells do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.diagnostics import diagnose
from gradstab.diagnostics._gates import gating
from gradstab.diagnostics._recurrence import recurrence_of
from tests.diagnostics.models import inputs, make_cell, mean_square

SIZE, STEPS = 4, 20
OPEN = 1 / (1 + np.exp(-3.0))
KEEPING = {
    "flax_gru": "update",
    "flax_lstm": "forget",
    "flax_fused_lstm": "forget",
    "gru": "update",
    "early_gru": "update",
    "nc_gru": "update",
    "lstm": "forget",
}


def set_gate(cell, gate, value):
    """Sets the bias of a gate, and all its weights to 0."""
    if isinstance(cell, gs.nn.GatedCell):
        dense = getattr(cell, f"dense_{gate}")
        dense.kernel[...] = jnp.zeros_like(dense.kernel)
        dense.bias[...] = jnp.full(SIZE, value)
        matrix = gs.nn.Unconstrained((SIZE, SIZE), rngs=nnx.Rngs(0))
        matrix.assign(jnp.zeros((SIZE, SIZE)))
        setattr(cell, gate, matrix)
        return
    if isinstance(cell, nnx.LSTMCell):
        letter = {"forget": "f", "input": "i", "output": "o"}[gate]
        into = getattr(cell, "if_" if letter == "f" else f"i{letter}")
        of_state = getattr(cell, f"h{letter}")
        for layer in (into, of_state):
            layer.kernel[...] = jnp.zeros_like(layer.kernel)
        of_state.bias[...] = jnp.full(SIZE, value)
        return
    orders = {
        nnx.GRUCell: ("reset", "update", "candidate"),
        nnx.OptimizedLSTMCell: ("input", "forget", "candidate", "output"),
    }
    place = orders[type(cell)].index(gate) * SIZE
    part = slice(place, place + SIZE)
    for layer in (cell.dense_i, cell.dense_h):
        layer.kernel[...] = layer.kernel[...].at[:, part].set(0.0)
    biased = cell.dense_i if isinstance(cell, nnx.GRUCell) else cell.dense_h
    assert biased.bias is not None
    biased.bias[...] = biased.bias[...].at[part].set(value)


@pytest.mark.parametrize("name", KEEPING)
def test_each_gate_is_told_from_the_others(name):
    keeps = KEEPING[name]
    known = gating(make_cell(name, SIZE))
    assert known is not None
    assert known.keeps == keeps
    for gate in known.names:
        cell = make_cell(name, SIZE)
        set_gate(cell, gate, 3.0)
        layer = gs.nn.RNN if isinstance(cell, gs.nn.GatedCell) else nnx.RNN
        one = recurrence_of(layer(cell), inputs(1))
        assert one.gates is not None
        first = jax.tree.map(lambda x: x[0], (one.carry, one.inputs))
        values = one.gates(
            first[0], jax.tree.map(lambda x: x[0], one.prepare(first[1]))
        )
        opened = [other for other, x in values.items() if np.allclose(x, OPEN)]
        assert opened == [gate]


def test_a_report_has_shares_and_times():
    cell = make_cell("flax_gru", SIZE)
    set_gate(cell, "update", 3.0)
    model = nnx.RNN(cell)
    report = diagnose(model, inputs(STEPS), mean_square, exponents=1, jacobians=1)
    (found,) = report.measurement.recurrences
    assert (found.gates["update"].opened, found.gates["update"].closed) == (1, 0)
    assert found.gates["reset"].opened < 1
    times = found.gates["update"].time_scales
    assert times is not None
    np.testing.assert_allclose(times, np.full(SIZE, -1 / np.log(OPEN)), rtol=1e-4)
    assert found.gates["reset"].time_scales is None
    assert report.to_dict()["recurrence/model/gates/update/opened"] == 1


def test_a_gate_that_is_never_closed_never_forgets():
    cell = make_cell("lstm", SIZE)
    set_gate(cell, "forget", 200.0)
    model = gs.nn.RNN(cell)
    report = diagnose(model, inputs(STEPS), mean_square, exponents=1, jacobians=0)
    times = report.measurement.recurrences[0].gates["forget"].time_scales
    np.testing.assert_array_equal(times, np.full(SIZE, np.inf))


def test_h_detach_has_the_gates_of_the_lstm():
    cell = gs.nn.HDetachLSTMCell(2, SIZE, rngs=nnx.Rngs(0))
    model = gs.nn.RNN(cell, rngs=nnx.Rngs(1))
    report = diagnose(model, inputs(STEPS), mean_square, exponents=1, jacobians=1)
    (found,) = report.measurement.recurrences
    assert sorted(found.gates) == ["forget", "input", "output"]


def test_cells_of_other_equations_are_not_known():
    class Other(nnx.GRUCell):
        def __call__(self, carry, inputs):
            return super().__call__(carry, inputs)

    class Ours(gs.nn.GRUCell):
        def activate(self, carry, products, projected):
            return super().activate(carry, products, projected)

    assert gating(Other(2, 3, rngs=nnx.Rngs(0))) is None
    assert gating(Ours(2, 3, rngs=nnx.Rngs(0))) is None
    assert gating(nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))) is None
