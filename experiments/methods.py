"""The recurrent networks that are compared, each with its own optimizer."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from flax.typing import Initializer

import gradstab as gs
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


def adam(model: nnx.Module, settings: TrainingSettings) -> optax.GradientTransformation:
    """Adam on everything."""
    return optax.adam(settings.learning_rate)


def slow_coordinates(
    model: nnx.Module, settings: TrainingSettings
) -> optax.GradientTransformation:
    """RMSprop at a rate of its own on coordinates, Adam on the rest."""
    return partition(
        model,
        coordinates=optax.rmsprop(settings.coordinate_learning_rate),
        weights=optax.adam(settings.learning_rate),
    )


def unit_reflectors(
    model: nnx.Module, settings: TrainingSettings
) -> optax.GradientTransformation:
    """Adam on everything, and reflectors of unit length after each step."""
    adam = optax.adam(settings.learning_rate)
    return partition(model, coordinates=optax.chain(adam, unit_columns()), weights=adam)


def partition(
    model: nnx.Module,
    *,
    coordinates: optax.GradientTransformation,
    weights: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """Gives the coordinates of a model an optimizer of their own."""
    labels = jax.tree.map(
        lambda is_coordinate: "coordinates" if is_coordinate else "weights",
        gs.nn.unconstrained_mask(model),
    )
    return optax.partition({"coordinates": coordinates, "weights": weights}, labels)


def unit_columns() -> optax.GradientTransformation:
    """Changes updates so that each reflector ends up with unit length.

    A reflector is a column of a lower trapezoid, and only its direction counts: the
    matrix stays what it is. Without this, reflectors grow with every step of Adam, and
    each step turns them less.

    Returns:
        A transformation for the coordinates of an `SVD`.
    """

    def rescale(update, vectors):
        if vectors.ndim < 2:  # the spectrum
            return update
        moved = jnp.tril(vectors + update)
        return moved / jnp.linalg.norm(moved, axis=0, keepdims=True) - vectors

    return optax.stateless(
        lambda updates, params: jax.tree.map(rescale, updates, params)
    )


def rnn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's tanh cell, its recurrent kernel started with Gaussian numbers over √n."""
    # Flax would start it with an orthogonal kernel, which is half of the cure.
    return nnx.SimpleCell(
        in_features,
        settings.hidden,
        recurrent_kernel_init=nnx.initializers.normal(settings.hidden**-0.5),
        rngs=rngs,
    )


def gru(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """Flax's gated recurrent unit."""
    return nnx.GRUCell(in_features, settings.hidden, rngs=rngs)


def scornn(
    in_features: int, settings: TrainingSettings, rngs: nnx.Rngs
) -> nnx.RNNCellBase:
    """An orthogonal recurrent matrix by the scaled Cayley transform."""
    shape = (settings.hidden, settings.hidden)
    return gs.nn.OrthogonalCell(
        in_features,
        settings.hidden,
        recurrent=gs.nn.ScaledCayley(shape, negatives=settings.negatives, rngs=rngs),
        activation_fn=gs.nn.modrelu,
        kernel_init=symmetric_uniform(0.01),
        rngs=rngs,
    )


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
        rngs=rngs,
    )


def symmetric_uniform(limit: float) -> Initializer:
    """Makes an initializer of numbers uniform in (-limit, limit)."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


METHODS: dict[MethodName, Method] = {
    "rnn": Method("tanh RNN", rnn, adam),
    "gru": Method("GRU", gru, adam),
    "scornn": Method("scoRNN", scornn, slow_coordinates),
    "spectral_rnn": Method("Spectral-RNN", spectral_rnn, unit_reflectors),
}
