"""The recurrent networks that are compared, each with its own optimizer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from flax.typing import Initializer

import gradstab as gs
from experiments.optimizers import one_rate, slow_coordinates, unit_reflectors
from experiments.settings import MethodName, TrainingSettings


@dataclass(frozen=True)
class Method:
    """A recurrent network and the way it is trained.

    Attributes:
        title: its name in tables and figures.
        cell: (in_features, settings, rngs) -> the recurrent cell.
        optimizer: (model, settings) -> the optimizer of the model's Params.
    """

    title: str
    cell: Callable[[int, TrainingSettings, nnx.Rngs], nnx.RNNCellBase]
    optimizer: Callable[[nnx.Module, TrainingSettings], optax.GradientTransformation]


def rnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's tanh cell, its recurrent kernel started with Gaussian numbers over √n."""
    # Flax would start it with an orthogonal kernel, which is half of the cure.
    return nnx.SimpleCell(
        in_features,
        settings.hidden,
        recurrent_kernel_init=nnx.initializers.normal(settings.hidden**-0.5),
        dtype=settings.dtype,
        rngs=rngs,
    )


def gru(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's gated recurrent unit."""
    return nnx.GRUCell(in_features, settings.hidden, dtype=settings.dtype, rngs=rngs)


def lstm(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's long short-term memory."""
    return nnx.OptimizedLSTMCell(
        in_features, settings.hidden, dtype=settings.dtype, rngs=rngs
    )


def scornn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """An orthogonal recurrent matrix by the scaled Cayley transform."""
    return gs.nn.OrthogonalCell(
        in_features,
        settings.hidden,
        recurrent=scaled_cayley(settings, rngs),
        activation_fn=gs.nn.modrelu,
        kernel_init=symmetric_uniform(0.01),
        dtype=settings.dtype,
        rngs=rngs,
    )


def exprnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """An orthogonal recurrent matrix by the exponential."""
    shape = (settings.hidden, settings.hidden)
    return gs.nn.OrthogonalCell(
        in_features,
        settings.hidden,
        recurrent=gs.nn.Exponential(shape, rngs=rngs),
        activation_fn=gs.nn.modrelu,
        dtype=settings.dtype,
        rngs=rngs,
    )


def orthogonal_candidate(
    kind: type[gs.nn.GRUCell] | type[gs.nn.LSTMCell],
    in_features: int,
    settings: TrainingSettings,
    rngs: nnx.Rngs,
) -> nnx.RNNCellBase:
    """A gated cell whose candidate reads the state by an orthogonal matrix."""
    return kind(
        in_features,
        settings.hidden,
        candidate=scaled_cayley(settings, rngs),
        dtype=settings.dtype,
        rngs=rngs,
    )


def scaled_cayley(settings: TrainingSettings, rngs: nnx.Rngs) -> gs.nn.ScaledCayley:
    """Makes an orthogonal matrix as large as the state."""
    shape = (settings.hidden, settings.hidden)
    return gs.nn.ScaledCayley(shape, negatives=settings.negatives, rngs=rngs)


def spectral_rnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """A recurrent matrix with singular values near 1, by Householder reflectors."""
    return gs.nn.SpectralRNNCell(
        in_features,
        settings.hidden,
        reflectors=settings.reflectors,
        radius=settings.radius,
        kernel_init=nnx.initializers.glorot_uniform(),
        dtype=settings.dtype,
        rngs=rngs,
    )


def symmetric_uniform(limit: float) -> Initializer:
    """Makes an initializer of numbers uniform in (-limit, limit)."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


METHODS: dict[MethodName, Method] = {
    "rnn": Method("tanh RNN", rnn, one_rate),
    "gru": Method("GRU", gru, one_rate),
    "lstm": Method("LSTM", lstm, one_rate),
    "scornn": Method("scoRNN", scornn, slow_coordinates),
    "exprnn": Method("expRNN", exprnn, slow_coordinates),
    "spectral_rnn": Method("Spectral-RNN", spectral_rnn, unit_reflectors),
    "orthogonal_gru": Method(
        "orthogonal GRU", partial(orthogonal_candidate, gs.nn.GRUCell), slow_coordinates
    ),
    "orthogonal_lstm": Method(
        "orthogonal LSTM",
        partial(orthogonal_candidate, gs.nn.LSTMCell),
        slow_coordinates,
    ),
}
