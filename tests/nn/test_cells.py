"""What every cell must keep, one table of cells against one of faults."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs

FEATURES, HIDDEN, STEPS = 3, 5, 4  # an odd state


def scornn(in_features, hidden_features, *, rngs, **options):
    shape, kind = (hidden_features, hidden_features), options.get("param_dtype", "f4")
    return gs.nn.OrthogonalCell(
        in_features,
        hidden_features,
        recurrent=gs.nn.ScaledCayley(shape, param_dtype=kind, rngs=rngs),
        activation_fn=gs.nn.modrelu,
        rngs=rngs,
        **options,
    )


def enrnn(in_features, hidden_features, **options):
    short = hidden_features // 2
    return gs.nn.ENRNNCell(
        in_features, hidden_features, short_features=short, **options
    )


CELLS: dict[str, Any] = {
    "OrthogonalCell": gs.nn.OrthogonalCell,
    "scoRNN": scornn,
    "GRUCell": gs.nn.GRUCell,
    "LSTMCell": gs.nn.LSTMCell,
    "SpectralRNNCell": gs.nn.SpectralRNNCell,
    "SpectralGRUCell": gs.nn.SpectralGRUCell,
    "NCGRUCell": gs.nn.NCGRUCell,
    "ENRNNCell": enrnn,
    "SBORNNCell": gs.nn.SBORNNCell,
    "HDetachLSTMCell": gs.nn.HDetachLSTMCell,
    "LimitCycleCell": gs.nn.LimitCycleCell,
    "GRUODECell": partial(gs.dynamics.GRUODECell, duration=0.2),
}


@pytest.fixture(params=CELLS)
def make(request):
    def build(features=FEATURES, hidden=HIDDEN, **options):
        return CELLS[request.param](
            features, hidden, rngs=nnx.Rngs(params=0), **options
        )

    return build


def run(cell, inputs, *, reverse=False, checkpoint_every=None, **options):
    rnn = gs.nn.RNN(cell, reverse=reverse, checkpoint_every=checkpoint_every)
    return rnn(inputs, return_carry=True, rngs=nnx.Rngs(draw=0), **options)


def draw(*shape):
    return jax.random.normal(jax.random.key(1), shape)


def start(cell, *batch):
    """A carry that is not zero."""
    zeros = cell.initialize_carry((*batch, FEATURES))
    return jax.tree.map(lambda x: 0.1 + x, zeros)


def total(cell, inputs):
    return sum(jnp.sum(x**2) for x in jax.tree.leaves(run(cell, inputs)))


value_and_slopes = jax.jit(jax.value_and_grad(total, (0, 1)))


def assert_equal(ours, theirs, **tolerance):
    for one, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


def assert_finite(tree):
    for leaf in jax.tree.leaves(tree):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("checkpoint_every", [None, 2])
def test_no_time_steps_leave_the_carry(make, checkpoint_every):
    cell = make()
    carry = start(cell, 2)
    options = {"initial_carry": carry, "checkpoint_every": checkpoint_every}
    after, outputs = run(cell, draw(2, 0, FEATURES), reverse=True, **options)
    assert outputs.shape == (2, 0, HIDDEN)
    assert_equal(after, carry)


def test_no_sequences_give_no_outputs_and_no_gradient(make):
    cell, inputs = make(), draw(0, STEPS, FEATURES)
    after, outputs = run(cell, inputs)
    assert outputs.shape == (0, STEPS, HIDDEN)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, start(cell, 0))
    _, (slopes, _) = value_and_slopes(cell, inputs)
    assert_equal(slopes, jax.tree.map(jnp.zeros_like, slopes))


@pytest.mark.error_text
def test_refuses_other_features(make):
    cell, bad = make(), draw(2, STEPS, FEATURES + 1)
    message = rf"`inputs` must have {FEATURES} features on the last axis, got shape"
    with pytest.raises(ValueError, match=message):
        run(cell, bad)
    with pytest.raises(ValueError, match=message):
        cell(start(cell, 2), bad[:, 0])


@pytest.mark.error_text
@pytest.mark.parametrize(("sizes", "name"), [((0, 4), "in"), ((3, 0), "hidden")])
def test_refuses_sizes_below_one(make, sizes, name):
    message = rf"`{name}_features` must be an integer >= 1, got 0\."
    with pytest.raises(ValueError, match=message):
        make(*sizes)


def test_one_hidden_unit_is_enough(make):
    value, slopes = value_and_slopes(make(hidden=1), draw(2, STEPS, FEATURES))
    assert value > 0
    assert_finite(slopes)


def test_without_input_and_state_the_gradient_is_finite(make):
    value, slopes = value_and_slopes(make(), jnp.zeros((2, STEPS, FEATURES)))
    assert np.isfinite(value)
    assert_finite(slopes)


@pytest.mark.parametrize("name", ["scoRNN", "ENRNNCell", "NCGRUCell"])
def test_a_very_negative_bias_of_modrelu_shuts_every_unit(name):
    cell = CELLS[name](FEATURES, HIDDEN, rngs=nnx.Rngs(0))
    bias = cell.modulus_bias if name == "NCGRUCell" else cell.bias
    bias[...] = jnp.full(HIDDEN, -1e30)
    value, slopes = value_and_slopes(cell, draw(2, STEPS, FEATURES))
    assert value == 0
    assert_finite(slopes)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_shorter_sequence_is_a_run_of_its_own(make, reverse):
    cell, inputs = make(), draw(3, STEPS, FEATURES)
    carry, lengths = start(cell, 3), jnp.array([0, 3, STEPS])
    options = {"reverse": reverse, "initial_carry": carry}
    after, outputs = run(cell, inputs, seq_lengths=lengths, **options)
    assert_equal(*(jax.tree.map(lambda x: x[0], c) for c in (after, carry)))
    np.testing.assert_array_equal(outputs[0], 0)
    options["initial_carry"] = jax.tree.map(lambda x: x[1], carry)
    alone = run(cell, inputs[1, :3], **options)
    assert_equal(jax.tree.map(lambda x: x[1], after), alone[0], atol=1e-6)
    np.testing.assert_allclose(outputs[1, :3], alone[1], atol=1e-6)


@pytest.mark.parametrize("bad", [-1, STEPS + 1])
def test_lengths_outside_the_sequence_are_refused_or_clamped(make, bad):
    cell, inputs, lengths = make(), draw(1, STEPS, FEATURES), jnp.array([bad])
    with pytest.raises(ValueError, match=rf"`seq_lengths` must lie in \[0, {STEPS}\]"):
        run(cell, inputs, seq_lengths=lengths)
    traced = jax.jit(lambda lengths: run(cell, inputs, seq_lengths=lengths))
    assert_equal(traced(lengths), traced(jnp.clip(lengths, 0, STEPS)))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_what_is_not_finite_stays_in_its_sequence(make, bad):
    cell, inputs = make(), draw(2, STEPS, FEATURES)
    spoilt = inputs.at[0, 2].set(bad)
    found, (_, slope) = value_and_slopes(cell, spoilt)
    _, (_, expected) = value_and_slopes(cell, inputs)
    np.testing.assert_array_equal(slope[1], expected[1])
    _, outputs = run(cell, spoilt)
    np.testing.assert_array_equal(outputs[1], run(cell, inputs)[1][1])
    if np.isnan(bad):
        assert np.isnan(found)
        assert np.all(np.isnan(outputs[0, 2:]))


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.bfloat16])
def test_inputs_are_cast(make, dtype):
    cell, inputs = make(), (draw(2, STEPS, FEATURES) > 0).astype(dtype)
    assert_equal(run(cell, inputs), run(cell, inputs.astype(jnp.float32)))
    _, output = cell(start(cell, 2), inputs[:, 0])
    assert output.dtype == jnp.float32


def test_low_precision_keeps_the_state_in_float32(make):
    inputs = draw(2, STEPS, FEATURES)
    products, weights = make(dtype=jnp.bfloat16), make(param_dtype=jnp.bfloat16)
    for leaf in jax.tree.leaves((run(products, inputs), run(weights, inputs))):
        assert leaf.dtype == jnp.float32
    _, (slopes, _) = value_and_slopes(products, inputs)
    assert_finite(slopes)
    for slope, leaf in zip(*map(jax.tree.leaves, (slopes, products)), strict=True):
        assert slope.dtype == leaf.dtype


def test_ten_thousand_steps_have_a_finite_gradient(make):
    value, slopes = value_and_slopes(make(), draw(1, 10_000, FEATURES))
    assert np.isfinite(value)
    assert_finite(slopes)


def test_both_directions_and_two_layers_respect_lengths(make):
    rngs, lengths = nnx.Rngs(draw=0), jnp.array([3, STEPS])
    lower = nnx.Bidirectional(*(gs.nn.RNN(make(), rngs=rngs) for _ in range(2)))
    upper = gs.nn.RNN(make(features=2 * HIDDEN), rngs=rngs)

    def stacked(inputs, **options):
        return upper(jnp.asarray(lower(inputs, **options)), **options)

    inputs = draw(2, STEPS, FEATURES)
    outputs = stacked(inputs.at[0, 3:].set(jnp.nan), seq_lengths=lengths)
    np.testing.assert_allclose(outputs[:1, :3], stacked(inputs[:1, :3]), atol=1e-6)
    np.testing.assert_array_equal(outputs[0, 3:], 0)
