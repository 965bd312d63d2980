"""Models of known behavior, and what is said of them."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.diagnostics import Verdict, diagnose

STEPS = 100
UNITS = 16


class Read(nnx.Module):
    """A recurrence that is read at its end."""

    def __init__(self, rnn):
        self.rnn = rnn

    def __call__(self, inputs):
        return self.rnn(inputs)[:, -1]


class Stack(nnx.Module):
    """Layers one after another."""

    def __init__(self, layers, activation_fn=None):
        self.layers = nnx.List(layers)
        self.activation_fn = activation_fn

    def __call__(self, inputs):
        for layer in self.layers:
            inputs = layer(inputs)
            if self.activation_fn is not None:
                inputs = self.activation_fn(inputs)
        return inputs


class Residual(nnx.Module):
    """Layers that add to what they are given."""

    def __init__(self, layers):
        self.layers = nnx.List(layers)

    def __call__(self, inputs):
        for layer in self.layers:
            inputs += 0.1 * jnp.tanh(layer(inputs))
        return inputs


class Map(nnx.RNNCellBase):
    """A map of the state alone, as a cell."""

    def __init__(self, function, size):
        self.function = function
        self.size = size
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, carry, inputs):
        carry = self.function(carry) + 0 * inputs[..., :1]
        return carry, carry

    def initialize_carry(self, input_shape, rngs=None, carry_init=None):
        return jnp.full((*input_shape[:-1], self.size), 0.1)

    @property
    def num_feature_axes(self):
        return 1


def identity(x):
    return x


def logistic(x):
    return 4 * x * (1 - x)


def logistic_of_period_two(x):
    return 3.2 * x * (1 - x)


def logistic_at_rest(x):
    return 2.5 * x * (1 - x)


def logistic_that_leaves(x):
    return 4.5 * x * (1 - x)


def henon(h):
    x, y = h[..., :1], h[..., 1:]
    return jnp.concatenate([1 - 1.4 * x**2 + y, 0.3 * x], -1)


def rotation(h):
    x, y = h[..., :1], h[..., 1:]
    return jnp.concatenate([0.6 * x - 0.8 * y, 0.8 * x + 0.6 * y], -1)


def orthogonal(scale, size=UNITS, seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return jnp.asarray(scale * q, jnp.float32)


def gaussian(gain, size):
    draw = np.random.default_rng(1).standard_normal((size, size))
    return jnp.asarray(gain * draw / size**0.5, jnp.float32)


def elman(kernel, activation_fn=identity, bias=0.0):
    size = len(kernel)
    cell = nnx.SimpleCell(3, size, activation_fn=activation_fn, rngs=nnx.Rngs(0))
    cell.dense_h.kernel[...] = kernel
    cell.dense_i.bias = nnx.Param(jnp.full(size, bias))
    return Read(nnx.RNN(cell))


def parametrized(recurrent, activation_fn=identity):
    rngs = nnx.Rngs(0)
    cell = gs.nn.OrthogonalCell(
        3, UNITS, recurrent=recurrent, activation_fn=activation_fn, rngs=rngs
    )
    return Read(gs.nn.RNN(cell))


def lstm(forget=0.0, entrance=0.0):
    cell = nnx.LSTMCell(3, UNITS, rngs=nnx.Rngs(0))
    cell.hf.bias = nnx.Param(jnp.full(UNITS, forget))
    cell.hi.bias = nnx.Param(jnp.full(UNITS, entrance))
    return Read(nnx.RNN(cell))


def gru(bias):
    cell = nnx.GRUCell(3, UNITS, rngs=nnx.Rngs(0))
    biases = jnp.zeros((3, UNITS)).at[1].set(bias)
    cell.dense_i.bias = nnx.Param(biases.ravel())
    return Read(nnx.RNN(cell))


def shape():
    return UNITS, UNITS


def linears(scale, bias=0.0):
    layers = [nnx.Linear(UNITS, UNITS, rngs=nnx.Rngs(0)) for _ in range(12)]
    for seed, layer in enumerate(layers):
        layer.kernel[...] = orthogonal(scale, seed=seed)
        layer.bias = nnx.Param(jnp.full(UNITS, bias))
    return layers


def batch_normalized(count):
    rngs = nnx.Rngs(0)
    layers = []
    for _ in range(count):
        layers += [nnx.Linear(64, 64, rngs=rngs), nnx.BatchNorm(64, rngs=rngs)]
    return Stack(layers, nnx.relu)


def he(count):
    rngs = nnx.Rngs(0)
    init = nnx.initializers.he_normal()
    layers = [nnx.Linear(64, 64, kernel_init=init, rngs=rngs) for _ in range(count)]
    return Stack(layers, nnx.relu)


def shrinking_convolutions(normalized):
    rngs = nnx.Rngs(0)
    init = nnx.initializers.variance_scaling(0.25, "fan_in", "normal")
    layers = []
    for _ in range(30):
        layers.append(nnx.Conv(20, 20, (1, 1), kernel_init=init, rngs=rngs))
        if normalized:
            layers.append(gs.nn.ChannelNorm(20, rngs=rngs))
    return Stack(layers)


def broken():
    layers = linears(1.0)
    layers[4].kernel[...] = jnp.full(shape(), jnp.nan)
    return Stack(layers)


RECURRENT = {
    "contracting by 0.9": (lambda: elman(orthogonal(0.9)), "vanishing"),
    "contracting by 0.95": (lambda: elman(orthogonal(0.95)), "vanishing"),
    "contracting by 0.99": (lambda: elman(orthogonal(0.99)), "stable"),
    "orthogonal": (lambda: elman(orthogonal(1.0)), "stable"),
    "growing by 1.06": (lambda: elman(orthogonal(1.06)), "exploding"),
    "growing by 1.2": (lambda: elman(orthogonal(1.2)), "exploding"),
    "growing past all numbers": (lambda: elman(orthogonal(4.0)), "exploding"),
    "zero": (lambda: elman(jnp.zeros(shape())), "vanishing"),
    "nilpotent": (lambda: elman(jnp.eye(UNITS, k=1)), "vanishing"),
    "identity of ReLUs": (lambda: elman(jnp.eye(UNITS), nnx.relu, 1.0), "stable"),
    "small gain": (lambda: elman(gaussian(0.5, UNITS), jnp.tanh), "vanishing"),
    "saturated": (lambda: elman(orthogonal(1.0), jnp.tanh, 10.0), "vanishing"),
    "gain of 5": (lambda: elman(gaussian(5.0, 128), jnp.tanh), "chaotic"),
    "gain of 10": (lambda: elman(gaussian(10.0, 128), jnp.tanh), "chaotic"),
    "GRU": (lambda: gru(0.0), "vanishing"),
    "GRU that keeps": (lambda: gru(7.0), "stable"),
    "LSTM": (lstm, "vanishing"),
    "LSTM that keeps": (lambda: lstm(9.0, -9.0), "stable"),
    "LSTM that sums its own output": (lambda: lstm(9.0), "exploding"),
    "LSTM that forgets": (lambda: lstm(-9.0), "vanishing"),
    "Cayley": (
        lambda: parametrized(gs.nn.Cayley(shape(), rngs=nnx.Rngs(1))),
        "stable",
    ),
    "scoRNN": (
        lambda: parametrized(
            gs.nn.ScaledCayley(shape(), rngs=nnx.Rngs(1)), gs.nn.modrelu
        ),
        "stable",
    ),
    "exponential": (
        lambda: parametrized(gs.nn.Exponential(shape(), rngs=nnx.Rngs(1))),
        "stable",
    ),
    "Householder": (
        lambda: parametrized(gs.nn.Householder(shape(), rngs=nnx.Rngs(1))),
        "stable",
    ),
    "radius of 0.8": (
        lambda: parametrized(
            gs.nn.EigenvalueNormalized(shape(), radius=0.8, rngs=nnx.Rngs(1))
        ),
        "vanishing",
    ),
    "SBO-RNN": (
        lambda: Read(gs.nn.RNN(gs.nn.SBORNNCell(3, UNITS, rngs=nnx.Rngs(0)))),
        "stable",
    ),
    "logistic map": (lambda: Read(nnx.RNN(Map(logistic, 1))), "chaotic"),
    "logistic map of period two": (
        lambda: Read(nnx.RNN(Map(logistic_of_period_two, 1))),
        "vanishing",
    ),
    "logistic map at rest": (
        lambda: Read(nnx.RNN(Map(logistic_at_rest, 1))),
        "vanishing",
    ),
    "logistic map that leaves": (
        lambda: Read(nnx.RNN(Map(logistic_that_leaves, 1))),
        "exploding",
    ),
    "Hénon map": (lambda: Read(nnx.RNN(Map(henon, 2))), "chaotic"),
    "rotation": (lambda: Read(nnx.RNN(Map(rotation, 2))), "stable"),
}
DEEP = {
    "halving": (lambda: Stack(linears(0.5)), "vanishing"),
    "doubling": (lambda: Stack(linears(2.0)), "exploding"),
    "orthogonal": (lambda: Stack(linears(1.0)), "stable"),
    "saturated": (lambda: Stack(linears(1.0, 10.0), jnp.tanh), "vanishing"),
    "residual": (lambda: Residual(linears(1.0)), "stable"),
    "not a number": (broken, "exploding"),
    "He's start": (lambda: he(20), "stable"),
    "batch normalization": (lambda: batch_normalized(40), "exploding"),
    "no channel normalization": (lambda: shrinking_convolutions(False), "vanishing"),
    "channel normalization": (lambda: shrinking_convolutions(True), "stable"),
}


def mean_square(model, batch):
    return jnp.mean(model(batch) ** 2)


def judge(model, batch):
    return diagnose(
        model, batch, mean_square, exponents=2, jacobians=1, probes=4
    ).verdict


@pytest.mark.parametrize("name", RECURRENT)
def test_of_a_recurrence(name):
    make, expected = RECURRENT[name]
    batch = jax.random.normal(jax.random.key(0), (5, STEPS, 3))
    verdict = judge(make(), 0.1 * batch)
    assert verdict == expected, verdict.sentence


@pytest.mark.parametrize("name", DEEP)
def test_of_a_deep_network(name):
    make, expected = DEEP[name]
    model = make()
    size = {"He's start": 64, "batch normalization": 64}.get(name, UNITS)
    shape = (32, size) if "channel" not in name else (4, 8, 8, 20)
    verdict = judge(model, jax.random.normal(jax.random.key(0), shape))
    assert verdict == expected, verdict.sentence


class Clocked(nnx.RNNCellBase):
    """A cell whose carry holds a clock beside its state."""

    def __init__(self, cell):
        self.cell = cell

    def __call__(self, carry, inputs):
        state, clock = carry
        state, output = self.cell(state, inputs)
        return (state, clock + 1), output

    def initialize_carry(self, input_shape, rngs=None, carry_init=None):
        state = self.cell.initialize_carry(input_shape, rngs)
        return state, jnp.zeros((*input_shape[:-1], 1))

    @property
    def num_feature_axes(self):
        return 1


def test_a_clock_in_the_carry_hides_nothing():
    cell = nnx.SimpleCell(3, UNITS, activation_fn=identity, rngs=nnx.Rngs(0))
    cell.dense_h.kernel[...] = orthogonal(0.5)
    batch = jax.random.normal(jax.random.key(0), (5, STEPS, 3))
    verdict = judge(Read(nnx.RNN(Clocked(cell))), batch)
    assert verdict == "vanishing"
    assert "below 1e-7 of its peak" in verdict.evidence


class OnASphere(nnx.RNNCellBase):
    """A chaotic map whose state keeps its norm."""

    def __init__(self, size):
        self.kernel = nnx.Param(gaussian(4.0, size))
        self.size = size

    def __call__(self, carry, inputs):
        carry = jnp.tanh(carry @ self.kernel[...]) + inputs[..., :1]
        carry /= jnp.linalg.norm(carry, axis=-1, keepdims=True) / self.size**0.5
        return carry, carry

    def initialize_carry(self, input_shape, rngs=None, carry_init=None):
        start = jnp.cos(jnp.arange(self.size, dtype=jnp.float32))
        return jnp.broadcast_to(start, (*input_shape[:-1], self.size))

    @property
    def num_feature_axes(self):
        return 1


def test_chaos_of_a_state_of_constant_size_is_chaos():
    batch = 0.1 * jax.random.normal(jax.random.key(0), (5, STEPS, 3))
    assert judge(Read(nnx.RNN(OnASphere(64))), batch) == "chaotic"


def test_a_loss_that_is_not_finite_is_no_stable_one():
    model = Stack([nnx.Linear(3, 3, rngs=nnx.Rngs(0)) for _ in range(2)])
    report = diagnose(model, jnp.full((2, 3), jnp.nan), mean_square)
    assert report.verdict == "exploding"


def test_gradients_that_are_stopped_are_named():
    class Stopped(Stack):
        def __call__(self, inputs):
            for place, layer in enumerate(self.layers):
                inputs = layer(inputs)
                inputs = jax.lax.stop_gradient(inputs) if place == 6 else inputs
            return inputs

    verdict = judge(Stopped(linears(1.0)), jnp.ones((4, UNITS)))
    assert verdict == "vanishing"
    assert "no gradient reaches layers.6" in verdict.evidence


def test_can_be_copied_and_pickled():
    verdict = Verdict("stable", "depth", 0.5, "words", "")
    for again in (copy.deepcopy(verdict), pickle.loads(pickle.dumps(verdict))):
        assert again == verdict
        assert again.sentence == verdict.sentence
