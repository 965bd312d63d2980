"""Models that several tests of diagnostics share."""

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


def cells(size):
    """Makes cells of every kind, in the widest precision."""
    dtype = jnp.zeros(()).dtype

    def make(kind, **options):
        return kind(2, size, param_dtype=dtype, rngs=nnx.Rngs(0), **options)

    return {
        "flax_elman": make(nnx.SimpleCell, dtype=dtype),
        "flax_gru": make(nnx.GRUCell),
        "flax_lstm": make(nnx.LSTMCell),
        "flax_fused_lstm": make(nnx.OptimizedLSTMCell),
        "orthogonal": make(gs.nn.OrthogonalCell),
        "modrelu": make(gs.nn.OrthogonalCell, activation_fn=gs.nn.modrelu),
        "gru": make(gs.nn.GRUCell),
        "early_gru": make(gs.nn.GRUCell, reset_after=False),
        "lstm": make(gs.nn.LSTMCell),
        "nc_gru": make(gs.nn.NCGRUCell),
        "sbo_rnn": make(gs.nn.SBORNNCell),
    }


def inputs(steps, batch=3, features=2):
    key = jax.random.key(7)
    return jax.random.normal(key, (batch, steps, features), jnp.zeros(()).dtype)
