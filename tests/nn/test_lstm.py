import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import gradstab as gs

NORMAL = nnx.initializers.normal(0.5)
INPUTS = jax.random.normal(jax.random.key(0), (2, 6, 3))


def make(**options):
    return gs.nn.LSTMCell(3, 4, bias_init=NORMAL, rngs=nnx.Rngs(0), **options)


def twin_of(cell):
    twin = cell.flax_twin()
    assert twin is not None
    return twin


def unfused(cell):
    """Copies the weights into `nnx.LSTMCell`, gate by gate."""
    stock = nnx.LSTMCell(3, 4, rngs=nnx.Rngs(1))
    letters = {"input": "i", "forget": "f", "candidate": "g", "output": "o"}
    for name, letter in letters.items():
        suffix = "f_" if letter == "f" else letter
        getattr(stock, f"i{suffix}").kernel[...] = getattr(
            cell, f"dense_{name}"
        ).kernel[...]
        hidden = getattr(stock, f"h{letter}")
        hidden.kernel[...] = getattr(cell, name)().mT
        hidden.bias[...] = getattr(cell, f"dense_{name}").bias[...]
    return stock


@jax.jit
def slope(rnn, inputs):
    def loss(rnn, inputs):
        start = (jnp.zeros((2, 4)), jnp.zeros((2, 4)))
        carry, outputs = rnn(inputs, initial_carry=start, return_carry=True)
        return jnp.sum(outputs**3) + jnp.sum(carry[0] ** 2)

    return jax.value_and_grad(loss, (0, 1))(rnn, inputs)


def test_values_and_gradients_are_those_of_flax():
    cell = make()
    value, (ours, in_inputs) = slope(gs.nn.RNN(cell), INPUTS)
    fused, apart = twin_of(cell), unfused(cell)
    expected, (theirs, gradient) = slope(nnx.RNN(fused, rngs=False), INPUTS)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(in_inputs, gradient, atol=1e-5)
    gates = [getattr(ours.cell, name).weight[...].mT for name in cell.gates]
    theirs = theirs.cell.dense_h.kernel[...]
    np.testing.assert_allclose(jnp.concatenate(gates, 1), theirs, atol=1e-5)
    np.testing.assert_allclose(
        nnx.RNN(apart)(INPUTS), nnx.RNN(fused)(INPUTS), atol=1e-6
    )


def test_a_constrained_gate_has_a_twin():
    cell = make(forget=gs.nn.Cayley((4, 4), rngs=nnx.Rngs(1)))
    twin = nnx.RNN(twin_of(cell))(INPUTS)
    np.testing.assert_allclose(gs.nn.RNN(cell)(INPUTS), twin, atol=1e-6)


def test_output_is_the_second_part_of_the_carry():
    cell = make()
    carry, output = cell(cell.initialize_carry((2, 3)), INPUTS[:, 0])
    assert output is carry[1]
    assert cell.contraction_bound is None
