import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix

NORMAL = nnx.initializers.normal(0.5)


def make(**options):
    return gs.nn.GRUCell(3, 4, bias_init=NORMAL, rngs=nnx.Rngs(0), **options)


def test_step_is_the_documented_equation():
    cell = make(candidate_bias=True)
    assert cell.candidate_bias is not None
    state, inputs = random_matrix(1, (4,), "float32"), random_matrix(2, (3,), "float32")

    def drive(name):
        dense = getattr(cell, f"dense_{name}")
        return dense(inputs), getattr(cell, name)() @ state

    reset, update = (jax.nn.sigmoid(sum(drive(name))) for name in ("reset", "update"))
    outside, inside = drive("candidate")
    new = jnp.tanh(outside + reset * (inside + cell.candidate_bias[...]))
    carry, output = cell(state, inputs)
    np.testing.assert_allclose(carry, (1 - update) * new + update * state, atol=1e-6)
    assert output is carry


def test_the_reset_may_come_before_the_product():
    cell = make(reset_after=False)
    state, inputs = random_matrix(1, (4,), "float32"), random_matrix(2, (3,), "float32")
    drive = {name: getattr(cell, f"dense_{name}")(inputs) for name in cell.gates}
    reset, update = (
        jax.nn.sigmoid(drive[name] + getattr(cell, name)() @ state)
        for name in ("reset", "update")
    )
    new = jnp.tanh(drive["candidate"] + cell.candidate() @ (reset * state))
    carry, _ = cell(state, inputs)
    np.testing.assert_allclose(carry, (1 - update) * new + update * state, atol=1e-6)
    assert cell.flax_twin() is None


@pytest.mark.parametrize(
    "options",
    [
        {"reset_after": False},
        {"reset_after": False, "activation_fn": gs.nn.modrelu},
        {"activation_fn": gs.nn.modrelu, "use_bias": False},
        {"candidate_bias": True, "activation_fn": gs.nn.modrelu},
    ],
)
def test_the_lean_gradient_of_every_form_is_that_of_stock_flax(options):
    with jax.enable_x64(True):
        cell = make(param_dtype=jnp.float64, **options)
        inputs = random_matrix(3, (2, 6, 3), "float64")
        start = random_matrix(4, (2, 4), "float64")

        def loss(layer, inputs, start):
            return jnp.sum(layer(inputs, initial_carry=start) ** 3)

        slope = jax.jit(jax.grad(loss, (0, 1, 2)))
        ours = slope(gs.nn.RNN(cell), inputs, start)
        stock = slope(nnx.RNN(cell, rngs=False), inputs, start)
        for one, other in zip(*map(jax.tree.leaves, (ours, stock)), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-11)


def test_without_biases_there_are_none():
    cell = make(use_bias=False)
    names = {path[-1] for path, _ in nnx.to_flat_state(nnx.state(cell))}
    assert names == {"kernel", "weight"}
    assert cell.flax_twin() is None


def test_a_bias_that_would_be_added_twice_is_refused():
    with pytest.raises(ValueError, match="`candidate_bias` must be False"):
        make(reset_after=False, candidate_bias=True)


def test_values_and_gradients_are_those_of_flax():
    cell = make()
    inputs = jax.random.normal(jax.random.key(0), (2, 6, 3))
    start = cell.initialize_carry((2, 3))  # stock layers want a key for zeros

    @jax.jit
    def slope(rnn, inputs):
        def loss(rnn, inputs):
            return jnp.sum(rnn(inputs, initial_carry=start) ** 3)

        return jax.value_and_grad(loss, (0, 1))(rnn, inputs)

    value, (ours, in_inputs) = slope(gs.nn.RNN(cell), inputs)
    twin = cell.flax_twin()
    assert twin is not None
    stock = nnx.RNN(twin, rngs=False)
    expected, (theirs, gradient) = slope(stock, inputs)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(in_inputs, gradient, atol=1e-5)
    gates = [getattr(ours.cell, name).weight[...].mT for name in cell.gates]
    dense = [getattr(ours.cell, f"dense_{name}") for name in cell.gates]
    for one, other in [
        (jnp.concatenate(gates, 1), theirs.cell.dense_h.kernel),
        (
            jnp.concatenate([x.kernel[...] for x in dense], 1),
            theirs.cell.dense_i.kernel,
        ),
        (jnp.concatenate([x.bias[...] for x in dense]), theirs.cell.dense_i.bias),
    ]:
        np.testing.assert_allclose(one, other[...], atol=1e-5)


def test_a_constrained_candidate_has_a_twin():
    cell = make(candidate=gs.nn.Cayley((4, 4), rngs=nnx.Rngs(1)))
    inputs = jax.random.normal(jax.random.key(0), (2, 6, 3))
    twin = cell.flax_twin()
    assert twin is not None
    stock = nnx.RNN(twin)(inputs)
    np.testing.assert_allclose(gs.nn.RNN(cell)(inputs), stock, atol=1e-6)


def test_candidate_bias_has_a_gradient_and_no_twin():
    cell = make(candidate_bias=True)
    inputs = jax.random.normal(jax.random.key(0), (2, 6, 3))

    @jax.jit
    def slope(rnn):
        return jax.grad(lambda rnn: jnp.sum(rnn(inputs) ** 3))(rnn)

    ours, stock = slope(gs.nn.RNN(cell)), slope(nnx.RNN(cell, rngs=False))
    np.testing.assert_allclose(
        ours.cell.candidate_bias[...], stock.cell.candidate_bias[...], rtol=1e-4
    )
    assert cell.flax_twin() is None


def test_gates_start_orthogonal_and_bound_nothing():
    cell = gs.nn.GRUCell(3, 16, rngs=nnx.Rngs(0))
    for name in cell.gates:
        matrix = getattr(cell, name)()
        np.testing.assert_allclose(matrix.mT @ matrix, np.eye(16), atol=1e-5)
    assert cell.contraction_bound is None
