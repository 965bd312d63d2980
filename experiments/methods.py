"""The recurrent networks that are compared, each with its own optimizer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import optax
from flax import nnx

import gradstab as gs
from experiments import cells
from experiments.optimizers import (
    clipped,
    one_rate,
    projected_candidate,
    slow_coordinates,
    slow_long_memory,
    unit_reflectors,
)
from experiments.settings import MethodName, TrainingSettings


@dataclass(frozen=True)
class Method:
    """A recurrent network and the way it is trained.

    Attributes:
        title: its name in tables and figures.
        cell: (in_features, settings, rngs) -> the recurrent cell.
        optimizer: (model, settings) -> the optimizer of the model's Params.
        refreshed: whether its matrices are re-anchored after each step.
    """

    title: str
    cell: Callable[[int, TrainingSettings, nnx.Rngs], nnx.RNNCellBase]
    optimizer: Callable[[nnx.Module, TrainingSettings], optax.GradientTransformation]
    refreshed: bool = False


METHODS: dict[MethodName, Method] = {
    "rnn": Method("tanh RNN", cells.rnn, one_rate),
    "orthogonal_start": Method(
        "tanh RNN, orthogonal start", cells.orthogonal_start, one_rate
    ),
    "torus_rnn": Method("tanh RNN, torus start", cells.torus_rnn, one_rate),
    "leaky_rnn": Method("leaky RNN", cells.leaky_rnn, one_rate),
    "limit_cycle": Method("limit-cycle RNN", cells.limit_cycle, one_rate),
    "gru": Method("GRU", cells.gru, one_rate),
    "lstm": Method("LSTM", cells.lstm, one_rate),
    "scornn": Method("scoRNN", cells.scornn, slow_coordinates),
    "exprnn": Method("expRNN", cells.exprnn, slow_coordinates),
    "spectral_rnn": Method("Spectral-RNN", cells.spectral_rnn, unit_reflectors),
    "orthogonal_gru": Method(
        "orthogonal GRU",
        partial(cells.orthogonal_candidate, gs.nn.GRUCell),
        slow_coordinates,
    ),
    "orthogonal_lstm": Method(
        "orthogonal LSTM",
        partial(cells.orthogonal_candidate, gs.nn.LSTMCell),
        slow_coordinates,
    ),
    "spectral_gru": Method("spectral GRU", cells.spectral_gru, projected_candidate),
    "unprojected_gru": Method("unprojected GRU", cells.spectral_gru, one_rate),
    "nc_gru": Method("NC-GRU", cells.nc_gru, one_rate, refreshed=True),
    "enrnn": Method("ENRNN", cells.enrnn, slow_long_memory),
    "sbo_rnn": Method("SBO-RNN", cells.sbo_rnn, one_rate),
    "h_detach": Method("h-detach LSTM", cells.h_detach, one_rate),
    "clipped_rnn": Method("tanh RNN, clipped", cells.rnn, clipped),
    "clipped_gru": Method("GRU, clipped", cells.gru, clipped),
    "clipped_lstm": Method("LSTM, clipped", cells.lstm, clipped),
}
