from typing import Any

import jax.numpy as jnp
import pytest
from flax import nnx

import gradstab as gs
from experiments.adding import PRESETS
from experiments.methods import METHODS
from experiments.sequence_model import SequenceModel
from experiments.summary import constraint_errors, count_parameters


def make(method) -> Any:
    settings, rngs = PRESETS["quick"], nnx.Rngs(0)
    cell = METHODS[method].cell(2, settings, rngs)
    return SequenceModel(cell, settings.hidden, 1, rngs=rngs)


# With n = 32, two inputs, one answer, 33 numbers of read-out: n² + 2n + n; Flax's GRU
# has 3n² + 6n + 3n, its LSTM 4n² + 8n + 4n; n (n - 1) / 2 + 2n + n; 2 (8n - 28) + n +
# 2n + n. Of an orthogonal gate n (n - 1) / 2 numbers are trained in place of n².
@pytest.mark.parametrize(
    ("method", "count"),
    [
        ("rnn", 1153),
        ("gru", 3393),
        ("lstm", 4513),
        ("scornn", 625),
        ("exprnn", 625),
        ("spectral_rnn", 617),
        ("orthogonal_gru", 3393 - 1024 + 496),
        ("orthogonal_lstm", 4513 - 1024 + 496),
    ],
)
def test_counts_what_is_trained(method, count):
    assert count_parameters(make(method)) == count


@pytest.mark.parametrize(
    "method",
    ["scornn", "exprnn", "spectral_rnn", "orthogonal_gru", "orthogonal_lstm"],
)
def test_constraints_hold_to_rounding(method):
    found = constraint_errors(make(method))
    (orthogonality,) = [error for error, _ in found if error is not None]
    assert 0 < orthogonality < 1e-5
    # Gates beside the orthogonal one are free, and leave nothing.
    assert 0 <= max(overshoot for _, overshoot in found) < 1e-5


class Shrunk(gs.nn.Unconstrained):
    """Claims to be orthogonal, and is a tenth short of it."""

    @property
    def singular_value_bounds(self):
        return 1.0, 1.0

    def __call__(self):
        return 0.9 * jnp.eye(32)


def test_a_broken_constraint_shows():
    model = make("scornn")
    model.rnn.cell.recurrent = Shrunk((32, 32), rngs=nnx.Rngs(0))
    ((orthogonality, overshoot),) = constraint_errors(model)
    assert orthogonality == pytest.approx(0.19, rel=1e-6)
    assert overshoot == pytest.approx(0.1, rel=1e-6)


def test_nothing_is_constrained_in_stock_cells():
    assert constraint_errors(make("rnn")) == []
