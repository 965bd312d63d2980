import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.gradients import scale_gradient
from tests.helpers import random_matrix

STEPS = 5


def make(kind: Any = gs.nn.HDetachLSTMCell, hidden=3, **options):
    return kind(2, hidden, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options)


@pytest.fixture
def inputs():
    with jax.enable_x64(True):
        yield random_matrix(0, (2, STEPS, 2), "float64")


def loss(cell, inputs, seed=0):
    outputs = gs.nn.RNN(cell)(inputs, rngs=nnx.Rngs(draw=seed))
    weights = jnp.cos(jnp.arange(outputs.size, dtype=outputs.dtype))
    return jnp.sum(weights.reshape(outputs.shape) * outputs**2)


slope = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


def with_coins(coins, p_detach=0.5, hidden=3):
    class Given(gs.nn.HDetachLSTMCell):
        """Tosses no coins but these."""

        def draw(self, key, steps):
            return jnp.asarray(coins, float)

    return make(Given, hidden, p_detach=p_detach)


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def test_values_are_those_of_the_lstm_for_every_probability(inputs):
    expected = gs.nn.RNN(make(gs.nn.LSTMCell))(inputs)
    for p_detach in (0.0, 0.3, 1.0):
        rnn = gs.nn.RNN(make(p_detach=p_detach), rngs=nnx.Rngs(draw=1))
        np.testing.assert_array_equal(rnn(inputs), expected)


def test_without_detaching_the_gradient_is_that_of_the_lstm_to_the_bit(inputs):
    expected = leaves(slope(make(gs.nn.LSTMCell), inputs))
    for ours, theirs in zip(
        leaves(slope(make(p_detach=0.0), inputs)), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("coins", [(1, 0, 1, 1, 0), (0, 0, 0, 0, 0)])
def test_the_lean_gradient_is_that_of_the_plain_recurrence(inputs, coins):
    def by_hand(cell, inputs):
        cell_ = gs.nn.materialize(cell)
        carry, outputs = cell_.initialize_carry(inputs.shape[::2]), []
        for step in range(STEPS):
            memory, state = carry
            state = coins[step] * state + (1 - coins[step]) * jax.lax.stop_gradient(
                state
            )
            carry, output = cell_((memory, state), inputs[:, step])
            outputs.append(output)
        outputs = jnp.stack(outputs, 1)
        weights = jnp.cos(jnp.arange(outputs.size, dtype=outputs.dtype))
        return jnp.sum(weights.reshape(outputs.shape) * outputs**2)

    expected = jax.jit(jax.value_and_grad(by_hand, (0, 1)))(make(), inputs)
    found = slope(with_coins(coins), inputs)
    for ours, theirs in zip(leaves(found), leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-13)


def test_the_mean_over_all_coins_is_the_gradient_with_a_scaled_state(inputs):
    p_detach = 0.3

    def scaled(cell, inputs):
        step = cell.matmul_step

        class Scaled(gs.nn.LSTMCell):
            def step(self, carry, projected):
                carry = carry[0], scale_gradient(carry[1], 1 - p_detach)
                return step(self, carry, projected)

        other = Scaled(2, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(1))
        nnx.update(other, nnx.state(cell))
        return loss(other, inputs)

    plain = make(gs.nn.LSTMCell)
    expected = leaves(jax.grad(scaled)(plain, inputs))
    total = [np.zeros_like(leaf) for leaf in expected]
    gradient = jax.jit(lambda coins: jax.grad(loss)(with_coins(coins), inputs))
    for coins in itertools.product((0.0, 1.0), repeat=STEPS):
        stopped = STEPS - sum(coins)
        weight = p_detach**stopped * (1 - p_detach) ** sum(coins)
        found = leaves(gradient(jnp.asarray(coins)))
        total = [a + weight * b for a, b in zip(total, found, strict=True)]
    for mean, leaf in zip(total, expected, strict=True):
        np.testing.assert_allclose(mean, leaf, atol=1e-13)


def test_without_recurrent_weights_no_coin_changes_a_gradient(inputs):
    def gradient(coins):
        cell = with_coins(coins)
        for gate in cell.gates:
            getattr(cell, gate).assign(jnp.zeros((3, 3)))
        return leaves(slope(cell, inputs))

    for ours, theirs in zip(gradient([1] * 5), gradient([0] * 5), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-15)


def test_with_probability_one_every_state_is_detached(inputs):
    expected = leaves(slope(with_coins([0] * STEPS), inputs))
    for ours, theirs in zip(
        leaves(slope(make(p_detach=1.0), inputs)), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_so_many_states_are_detached_as_the_probability_says():
    coins = gs.nn.HDetachLSTMCell(2, 3, p_detach=0.2, rngs=nnx.Rngs(0)).draw(
        jax.random.key(0), 10_000
    )
    assert float(jnp.mean(coins)) == pytest.approx(0.8, abs=0.02)


def test_one_coin_stops_all_sequences_of_a_batch(inputs):
    cell = make(p_detach=0.5)
    both = jax.grad(lambda x: loss(cell, x))(jnp.stack([inputs[0]] * 2))
    weights = jnp.cos(jnp.arange(2 * STEPS * 3.0)).reshape(2, STEPS, 3)

    def one(x, weights):
        outputs = gs.nn.RNN(cell)(x[None], rngs=nnx.Rngs(draw=0))
        return jnp.sum(weights * outputs[0] ** 2)

    for place in range(2):
        alone = jax.grad(one)(inputs[0], weights[place])
        np.testing.assert_allclose(both[place], alone, atol=1e-13)


def test_evaluation_needs_no_key_and_stops_nothing(inputs):
    rnn = gs.nn.RNN(make(p_detach=0.9))
    with pytest.raises(ValueError, match="`rngs` is required: HDetachLSTMCell draws"):
        rnn(inputs)
    rnn.eval()
    plain = jax.grad(lambda x: jnp.sum(gs.nn.RNN(make(gs.nn.LSTMCell))(x) ** 2))
    found = jax.grad(lambda x: jnp.sum(rnn(x) ** 2))(inputs)
    np.testing.assert_array_equal(found, plain(inputs))
    rnn.train()
    with pytest.raises(ValueError, match="`rngs` is required"):
        rnn(inputs)


def test_exports_as_the_lstm_of_flax(inputs):
    cell = make()
    outputs = gs.nn.RNN(cell, rngs=nnx.Rngs(draw=0))(inputs)
    twin = gs.nn.export(cell)
    assert type(twin) is nnx.OptimizedLSTMCell
    stock = nnx.RNN(twin, rngs=False)(
        inputs, initial_carry=cell.initialize_carry((2, 2))
    )
    np.testing.assert_allclose(stock, outputs, atol=1e-13)


@pytest.mark.parametrize("p_detach", [-0.1, 1.5, float("nan")])
def test_refuses_what_is_no_probability(p_detach):
    with pytest.raises(ValueError, match="`p_detach` must"):
        make(p_detach=p_detach)


@pytest.mark.parametrize(("hidden", "batch"), [(5, 2), (1, 2), (2, 2), (3, 1)])
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_and_coins_go_together(hidden, batch, reverse):
    with jax.enable_x64(True):
        coins = (1.0, 0.0, 1.0, 0.0, 1.0)
        cell = with_coins(coins, hidden=hidden)
        inputs = random_matrix(0, (batch, STEPS, 2), "float64")
        lengths = jnp.arange(3, 3 + batch)
        ended = jnp.arange(STEPS)[None, :, None] >= lengths[:, None, None]
        inputs = jnp.where(ended, jnp.nan, inputs)

        def total(inputs):
            rnn = gs.nn.RNN(cell, reverse=reverse)
            outputs = rnn(inputs, seq_lengths=lengths, rngs=nnx.Rngs(draw=0))
            return jnp.sum(outputs**2)

        def alone(x, length):
            if reverse:
                # The run begins at the last real step, and so do its coins.
                x = jnp.concatenate([x[:length], jnp.zeros((STEPS - length, 2))])
            part = with_coins(coins[:length], hidden=hidden)
            rnn = gs.nn.RNN(part, reverse=reverse)
            return jnp.sum(rnn(x[None, :length], rngs=nnx.Rngs(draw=0)) ** 2)

        found = jax.jit(jax.grad(total))(inputs)
        gradient = jax.jit(jax.grad(alone), static_argnums=1)
        for place, length in enumerate(map(int, lengths)):
            x = jnp.nan_to_num(inputs[place])
            expected = gradient(x, length)
            np.testing.assert_allclose(found[place], expected, atol=1e-13)


def test_a_whole_number_is_a_probability_too():
    with jax.enable_x64(True):
        rnn = gs.nn.RNN(make(p_detach=1), rngs=nnx.Rngs(draw=0))
        assert rnn(jnp.ones((1, 2, 2))).shape == (1, 2, 3)
