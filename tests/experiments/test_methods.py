from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments.adding import AddingSettings
from experiments.copying import CopyingSettings, copying_task
from experiments.methods import METHODS
from experiments.network import build_model
from experiments.sequence_model import SequenceModel

SETTINGS = AddingSettings(hidden=6, reflectors=3, negatives=2, short=2, rank=3)


def make(method) -> Any:
    rngs = nnx.Rngs(0)
    return SequenceModel(METHODS[method].cell(2, SETTINGS, rngs), 6, 1, rngs=rngs)


def after_a_step(method):
    """Returns a model before and after a step along gradients of alternating sign."""
    model = make(method)
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    gradient = jax.tree.map(
        lambda x: jnp.where(jnp.arange(x.size) % 2, 1.0, -1.0).reshape(x.shape), params
    )
    optimizer = METHODS[method].optimizer(model, SETTINGS)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    return model, nnx.merge(graph, optax.apply_updates(params, updates), rest)


@pytest.mark.parametrize("method", METHODS)
def test_answers_once_a_sequence(method):
    answers = make(method)(jnp.ones((3, 5, 2)), jax.random.key(0))
    assert answers.shape == (3, 1)


def test_the_plain_rnn_starts_with_gaussian_numbers():
    rngs = nnx.Rngs(0)
    cell: Any = METHODS["rnn"].cell(2, AddingSettings(hidden=100), rngs)
    kernel = np.asarray(cell.dense_h.kernel[...])
    assert abs(kernel.std() * 10 - 1) < 4 / np.sqrt(2 * kernel.size)
    assert np.linalg.svd(kernel, compute_uv=False).min() < 0.1


def test_scornn_moves_its_coordinates_more_slowly():
    before, after = after_a_step("scornn")
    # The first step of Adam is the rate; that of RMSprop the rate over √0.1.
    moved = jnp.abs(after.readout.kernel[...] - before.readout.kernel[...])
    np.testing.assert_allclose(moved, 1e-3, rtol=1e-3)
    skews = [model.rnn.cell.recurrent.skew[...] for model in (before, after)]
    np.testing.assert_allclose(
        jnp.abs(skews[1] - skews[0]), 1e-4 / np.sqrt(0.1), rtol=1e-2
    )


def test_spectral_rnn_keeps_its_reflectors_at_unit_length():
    before, after = (model.rnn.cell.recurrent for model in after_a_step("spectral_rnn"))
    for side in ("left", "right"):
        old, new = (jnp.tril(getattr(one, side)[...]) for one in (before, after))
        np.testing.assert_allclose(jnp.linalg.norm(new, axis=0), 1, rtol=1e-6)
        old = old / jnp.linalg.norm(old, axis=0, keepdims=True)
        assert 0 < np.max(np.abs(new - old)) < 5e-3
    np.testing.assert_allclose(jnp.abs(after.spectrum[...]), 1e-3, rtol=1e-3)


def test_only_the_long_memory_of_enrnn_moves_slowly():
    before, after = (model.rnn.cell for model in after_a_step("enrnn"))
    moved = jnp.abs(after.long.skew[...] - before.long.skew[...])
    np.testing.assert_allclose(moved, 1e-4 / np.sqrt(0.1), rtol=1e-2)
    for old, new in (
        (before.short.weight, after.short.weight),
        (before.coupling, after.coupling),
    ):
        np.testing.assert_allclose(jnp.abs(new[...] - old[...]), 1e-3, rtol=1e-2)


def test_the_candidate_of_the_spectral_gru_keeps_its_limit():
    model = make("spectral_gru")
    model.rnn.cell.candidate.assign(5 * jnp.eye(6))
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = METHODS["spectral_gru"].optimizer(model, SETTINGS)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    moved: Any = nnx.merge(graph, optax.apply_updates(params, updates), rest)
    cell = moved.rnn.cell
    np.testing.assert_allclose(cell.candidate(), 1.8 * np.eye(6), atol=1e-5)
    np.testing.assert_array_equal(cell.reset(), model.rnn.cell.reset())


@pytest.mark.parametrize("method", ["clipped_rnn", "clipped_gru", "clipped_lstm"])
def test_clipped_methods_shorten_long_gradients_alone(method):
    settings = AddingSettings(
        hidden=6, optimizer="sgd", learning_rate=1.0, clip=0.5, methods=(method,)
    )
    rngs = nnx.Rngs(0)
    model = SequenceModel(METHODS[method].cell(2, settings, rngs), 6, 1, rngs=rngs)
    params = nnx.state(model, nnx.Param)
    optimizer = METHODS[method].optimizer(model, settings)
    ones = jax.tree.map(jnp.ones_like, params)
    norm = float(optax.tree.norm(ones))
    for wanted, kept in ((0.25, 0.25), (4.0, 0.5)):
        gradient = jax.tree.map(lambda x, scale=wanted / norm: scale * x, ones)
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        assert float(optax.tree.norm(updates)) == pytest.approx(kept, rel=1e-5)


def test_the_start_of_h_detach_is_uniform_everywhere():
    settings = CopyingSettings(hidden=64, uniform=True)
    task = copying_task(replace(settings, validation_sequences=1, test_sequences=1))
    for method in ("lstm", "h_detach"):
        model = build_model(task, method, settings, jax.random.key(0))
        for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)):
            assert float(jnp.max(jnp.abs(leaf))) <= 1 / 8
            assert float(jnp.std(leaf)) == pytest.approx(1 / 8 / 3**0.5, rel=0.4)
    plain = build_model(
        task, "lstm", replace(settings, uniform=False), jax.random.key(0)
    )
    np.testing.assert_array_equal(plain.readout.kernel[...], 0)


def test_networks_that_start_on_closed_curves_turn_and_grow_in_every_plane():
    rngs = nnx.Rngs(0)
    settings = AddingSettings(hidden=8, dt=0.5)
    torus: Any = METHODS["torus_rnn"].cell(2, settings, rngs)
    cycles: Any = METHODS["limit_cycle"].cell(2, settings, rngs)
    assert cycles.dt == 0.5
    for matrix, low, high in (
        (torus.dense_h.kernel[...], 1.12, 1.26),
        (cycles.recurrent(), 1.5, 1.5),
    ):
        values = np.linalg.eigvals(np.asarray(matrix))
        assert np.all(np.abs(values) > low - 1e-5)
        assert np.all(np.abs(values) < high + 1e-5)
        assert np.all(values.imag != 0)
    start: Any = METHODS["orthogonal_start"].cell(2, settings, rngs)
    kernel = np.asarray(start.dense_h.kernel[...])
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(8), atol=1e-5)
    leaky: Any = METHODS["leaky_rnn"].cell(2, AddingSettings(hidden=100), rngs)
    assert abs(np.asarray(leaky.recurrent()).std() * 10 - 1) < 4 / np.sqrt(2e4)
