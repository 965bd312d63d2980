"""The diagnosis as a whole, and what its report holds."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from gradstab.diagnostics import Report, Verdict, diagnose
from tests.diagnostics.models import CELLS, Reader, inputs, make_cell, mean_square
from tests.helpers import random_matrix

QUICK: dict[str, Any] = {"exponents": 2, "jacobians": 2, "probes": 4}


def linear(scale, size=16, dtype=jnp.float32):
    """Makes h' = a Q h + x with Q orthogonal."""
    cell = nnx.SimpleCell(
        size,
        size,
        activation_fn=lambda x: x,
        dtype=dtype,
        param_dtype=dtype,
        rngs=nnx.Rngs(0),
    )
    q = jnp.linalg.qr(random_matrix(0, (size, size), dtype))[0]
    cell.dense_h.kernel[...] = scale * q
    return nnx.RNN(cell)


def at_the_end(model, batch):
    return jnp.mean(model(batch)[:, -1] ** 2)


def test_an_orthogonal_recurrence_has_slope_and_exponents_of_zero():
    report = diagnose(
        linear(1.0), inputs(1000, features=16), at_the_end, exponents=None
    )
    (found,) = report.summaries
    assert abs(found.gradient_slope) < 1e-6
    assert abs(found.reach_slope) < 1e-6
    assert len(found.exponents) == 16
    assert np.all(np.abs(found.exponents) < 1e-6)
    assert report.verdict == "stable"
    assert report.verdict.remedy == ""


@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_a_scaled_one_has_the_logarithm_of_its_scale(scale):
    with jax.enable_x64(True):
        model = linear(scale, dtype=jnp.float64)
        report = diagnose(model, inputs(60, features=16), at_the_end, exponents=None)
        (found,) = report.summaries
    expected = np.log(scale)
    assert abs(found.gradient_slope - expected) < 1e-10
    assert abs(found.reach_slope - expected) < 1e-10
    assert np.all(np.abs(found.exponents - expected) < 1e-10)
    assert abs(found.growth - 60 * expected) < 1e-9
    assert abs(found.largest_singular_value - scale) < 1e-12
    assert abs(found.spectral_radius - scale) < 1e-10
    assert report.verdict == {0.9: "vanishing", 1.1: "exploding"}[scale]


@pytest.mark.parametrize("name", list(CELLS))
def test_runs_on_every_cell(name):
    cell = make_cell(name, 3)
    layer = gs.nn.RNN if isinstance(cell, gs.nn.RecurrentCell) else nnx.RNN
    model = Reader(layer(cell), 3)
    numbers = diagnose(model, inputs(8), mean_square, **QUICK).to_dict()
    assert all(isinstance(value, float) for value in numbers.values())
    assert np.isfinite(numbers["recurrence/rnn/gradient_slope"])
    assert np.isfinite(numbers["recurrence/rnn/exponents/1"])


def test_a_layer_that_runs_backwards_is_measured_in_its_order():
    batch = inputs(12)
    cell = nnx.GRUCell(2, 3, rngs=nnx.Rngs(0))
    forward = diagnose(nnx.RNN(cell), batch[:, ::-1], mean_square, **QUICK)
    backward = diagnose(nnx.RNN(cell, reverse=True), batch, mean_square, **QUICK)
    for one, other in zip(forward.summaries, backward.summaries, strict=True):
        np.testing.assert_allclose(one.exponents, other.exponents, rtol=1e-5)
        np.testing.assert_allclose(one.growth, other.growth, rtol=1e-5)
        np.testing.assert_allclose(one.gradient_slope, other.gradient_slope, rtol=1e-4)


def test_what_follows_the_end_of_a_sequence_does_not_count():
    def loss(model, batch):
        lengths = jnp.full(batch.shape[0], 6)
        return jnp.mean(model(batch, seq_lengths=lengths) ** 2)

    batch = inputs(10)
    model = nnx.RNN(nnx.GRUCell(2, 3, rngs=nnx.Rngs(0)))
    part = diagnose(model, batch[:, :6], mean_square, **QUICK).summaries[0]
    whole = diagnose(model, batch.at[:, 6:].set(3.0), loss, **QUICK)
    np.testing.assert_allclose(whole.summaries[0].growth, part.growth, rtol=1e-5)
    np.testing.assert_array_equal(whole.measurement.recurrences[0].lengths, 6)


def test_random_and_stateful_cells_are_measured():
    class Dropping(nnx.RNNCellBase):
        def __init__(self):
            self.cell = nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))
            self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

        def __call__(self, carry, inputs):
            return self.cell(carry, self.dropout(inputs))

        def initialize_carry(self, *args, **options):
            return self.cell.initialize_carry(*args, **options)

        @property
        def num_feature_axes(self):
            return 1

    report = diagnose(nnx.RNN(Dropping()), inputs(6), mean_square, **QUICK)
    assert np.isfinite(report.summaries[0].growth)


def test_is_compiled_once():
    model, batch = Reader(nnx.RNN(nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))), 3), inputs(6)
    traces = []

    def loss(model, batch):
        traces.append(1)
        return mean_square(model, batch)

    diagnose(model, batch, loss, **QUICK)
    count = len(traces)
    again = diagnose(model, batch + 1, loss, **QUICK)
    assert len(traces) == count
    assert np.isfinite(again.summaries[0].growth)


def test_a_loss_may_return_more_than_itself():
    model = Reader(nnx.RNN(nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))), 3)

    def with_more(model, batch):
        return mean_square(model, batch), {"outputs": model(batch)}

    batch = inputs(6)
    one = diagnose(model, batch, with_more, **QUICK)
    np.testing.assert_allclose(
        one.to_dict()["loss"], mean_square(model, batch), rtol=1e-6
    )


def test_the_share_of_clipped_steps_is_read_from_the_optimizer():
    model = Reader(nnx.RNN(nnx.SimpleCell(2, 3, rngs=nnx.Rngs(0))), 3)
    optimizer = optax.chain(gs.optim.safe_clip_by_global_norm(1.0), optax.adam(1e-3))
    params = {"w": jnp.zeros(2)}
    state = optimizer.init(params)
    with jax.numpy_dtype_promotion("standard"):
        for size in (0.1, 5.0, 0.2, 9.0):
            _, state = optimizer.update({"w": jnp.full(2, size)}, state, params)
    report = diagnose(model, inputs(6), mean_square, opt_state=state, **QUICK)
    assert report.clipped == 0.5
    assert report.to_dict()["clipped"] == 0.5
    assert "Clipped: 50.0% of the training steps" in str(report)
    plain = diagnose(
        model, inputs(6), mean_square, opt_state=optax.adam(1e-3).init(params), **QUICK
    )
    assert plain.clipped is None


@pytest.fixture(scope="module")
def report():
    class Both(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.embed = nnx.List([nnx.Linear(2, 2, rngs=rngs) for _ in range(4)])
            self.free = nnx.RNN(nnx.GRUCell(2, 4, rngs=rngs))
            turn = gs.nn.OrthogonalCell(4, 4, rngs=rngs)
            self.held = gs.nn.RNN(turn)

        def __call__(self, x):
            for layer in self.embed:
                x = layer(x)
            x = self.free(x)
            assert isinstance(x, jax.Array)
            return self.held(x)[:, -1]

    return diagnose(Both(), inputs(60), mean_square, **QUICK)


def test_a_report_has_a_verdict_for_each_part(report):
    assert [one.where for one in report.verdicts] == ["free", "held", "depth"]
    assert isinstance(report.verdict, Verdict)
    assert report.verdict == "vanishing"
    assert report.verdict.where == "free"
    assert "forget in" in report.verdict.remedy
    assert report.verdict.sentence.startswith("vanishing (free): over 60 steps")


def test_a_report_prints_as_a_table(report):
    lines = report.table().splitlines()
    assert str(report) == report.table()
    assert lines[0].startswith("Verdict: vanishing (free)")
    for words in ("gates of free", "held.cell.recurrent", "embed.3", "Lyapunov"):
        assert any(words in line for line in lines), words


def test_a_report_is_saved(report, tmp_path):
    folder = report.save(tmp_path / "a" / "b")
    names = ["report.json", "report.pdf", "report.png", "report.txt"]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert (folder / "report.txt").read_text().strip() == report.table()
    content = json.loads((folder / "report.json").read_text())
    assert content["verdict"] == "vanishing"
    numbers = report.to_dict()
    assert content["numbers"].keys() == numbers.keys()
    for name, value in content["numbers"].items():
        assert value == (numbers[name] if np.isfinite(numbers[name]) else None)
    assert all((folder / name).stat().st_size > 1000 for name in names[1:3])


def test_a_report_draws_six_panels(report):
    figure = report.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "Gradient over time",
        "Reach of the last state",
        "Lyapunov exponents",
        "Jacobian of a step",
        "Layers",
        "Gates",
    ]


@pytest.mark.parametrize("scale", [0.0, 1e30])
def test_extremes_are_drawn_and_printed(scale, tmp_path):
    report = diagnose(linear(scale), inputs(12, features=16), at_the_end, **QUICK)
    assert report.verdict == ("vanishing" if scale == 0 else "exploding")
    report.save(tmp_path)
    assert "nan" not in report.verdict.sentence


def test_a_model_with_nothing_to_see_is_refused():
    with pytest.raises(ValueError, match="must have a recurrence or a layer"):
        diagnose(nnx.Dict(a=nnx.Dict()), jnp.ones((2, 3)), lambda m, b: jnp.sum(b))


@pytest.mark.parametrize(
    ("name", "least"), [("exponents", 1), ("jacobians", 0), ("probes", 1)]
)
def test_numbers_that_are_too_small_are_refused(name, least):
    model = linear(1.0)
    words = f"`{name}` must be an integer >= {least}, got {least - 1}"
    with pytest.raises(ValueError, match=words):
        diagnose(model, inputs(4, features=16), at_the_end, **{name: least - 1})


def test_no_jacobian_need_be_built(tmp_path):
    report = diagnose(linear(0.9), inputs(60, features=16), at_the_end, jacobians=0)
    assert report.verdict == "vanishing"
    assert np.isnan(report.to_dict()["recurrence/model/spectral_radius"])
    report.save(tmp_path)


def test_a_report_needs_a_measurement():
    report = diagnose(linear(1.0), inputs(4, features=16), at_the_end, **QUICK)
    again = Report(report.measurement)
    assert again.verdict == report.verdict
