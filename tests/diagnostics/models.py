"""Models that several tests of diagnostics share."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

import gradstab as gs


class Reader(nnx.Module):
    """A recurrence and a layer that reads its last output."""

    def __init__(self, rnn, features):
        self.rnn = rnn
        self.head = nnx.Linear(
            features, 2, param_dtype=jnp.zeros(()).dtype, rngs=nnx.Rngs(1)
        )

    def __call__(self, inputs):
        return self.head(self.rnn(inputs)[:, -1])


def mean_square(model, batch):
    return jnp.mean(model(batch) ** 2)


CELLS = {
    "flax_elman": nnx.SimpleCell,
    "flax_gru": nnx.GRUCell,
    "flax_lstm": nnx.LSTMCell,
    "flax_fused_lstm": nnx.OptimizedLSTMCell,
    "orthogonal": gs.nn.OrthogonalCell,
    "modrelu": functools.partial(gs.nn.OrthogonalCell, activation_fn=gs.nn.modrelu),
    "gru": gs.nn.GRUCell,
    "early_gru": functools.partial(gs.nn.GRUCell, reset_after=False),
    "lstm": gs.nn.LSTMCell,
    "nc_gru": gs.nn.NCGRUCell,
    "sbo_rnn": gs.nn.SBORNNCell,
}


def make_cell(name, size):
    """Makes one of the cells above, in the widest precision."""
    dtype = jnp.zeros(()).dtype
    options = {"dtype": dtype} if name == "flax_elman" else {}
    return CELLS[name](2, size, param_dtype=dtype, rngs=nnx.Rngs(0), **options)


def inputs(steps, batch=3, features=2):
    key = jax.random.key(7)
    return jax.random.normal(key, (batch, steps, features), jnp.zeros(()).dtype)
