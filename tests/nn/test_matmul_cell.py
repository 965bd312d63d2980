import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import primitives_in_scan

INPUTS = jax.random.normal(jax.random.key(0), (2, 6, 3))


class Gained(gs.nn.OrthogonalCell):
    """Reads a parameter where the elementwise map is."""

    def __init__(self, *args, rngs):
        super().__init__(*args, rngs=rngs)
        self.gain = nnx.Param(jnp.full(self.hidden_features, 0.5))

    def activate(self, carry, products, projected):
        gain = jnp.broadcast_to(self.gain[...], carry.shape)
        return jnp.tanh(gain * (products[0] + projected))


class Doubled(gs.nn.OrthogonalCell):
    """Does more in its step than the description says."""

    def step(self, carry, projected):
        carry, output = super().step(carry, projected)
        return carry, 2 * output


@pytest.mark.parametrize("kind", [Gained, Doubled])
def test_what_a_subclass_changes_is_followed(kind):
    cell = kind(3, 4, rngs=nnx.Rngs(0))

    @jax.jit
    def slope(rnn):
        return jax.grad(lambda rnn: jnp.sum(rnn(INPUTS) ** 3))(rnn)

    ours, stock = slope(gs.nn.RNN(cell)), slope(nnx.RNN(cell, rngs=False))
    for one, other in zip(*map(jax.tree.leaves, (ours, stock)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_no_product_is_computed_again():
    cell = gs.nn.GRUCell(3, 4, rngs=nnx.Rngs(0))

    def count(layer):
        grad = jax.grad(lambda rnn: jnp.sum(rnn(INPUTS) ** 2))
        jaxpr = jax.make_jaxpr(grad)(layer).jaxpr
        return sum(name == "dot_general" for name in primitives_in_scan(jaxpr))

    # For each of 3 gates the product, its transpose and its weight gradient; and for
    # the inputs these and one more, whose value is dead code for the compiler.
    assert count(gs.nn.RNN(cell)) == 3 * 3 + 3 * 4
