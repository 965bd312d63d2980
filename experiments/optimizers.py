"""Optimizers for models that hold coordinates beside plain weights."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import gradstab as gs
from experiments.settings import TrainingSettings

RULES = {"adam": optax.adam, "rmsprop": optax.rmsprop, "sgd": optax.sgd}


def one_rate(
    model: nnx.Module, settings: TrainingSettings
) -> optax.GradientTransformation:
    """One rule and one rate for everything."""
    return RULES[settings.optimizer](settings.learning_rate)


def clipped(
    model: nnx.Module, settings: TrainingSettings
) -> optax.GradientTransformation:
    """One rule and one rate, after gradients that are too long have been shortened."""
    return optax.chain(
        optax.clip_by_global_norm(settings.clip), one_rate(model, settings)
    )


def slow_coordinates(
    model: nnx.Module, settings: TrainingSettings
) -> optax.GradientTransformation:
    """RMSprop at a rate of its own on coordinates."""
    return partition(
        model,
        coordinates=optax.rmsprop(settings.coordinate_learning_rate),
        weights=one_rate(model, settings),
    )


def slow_long_memory(
    model: nnx.Module, settings: TrainingSettings
) -> optax.GradientTransformation:
    """RMSprop at a rate of its own on the coordinates of the long memory."""
    return partition(
        model,
        coordinates=optax.rmsprop(settings.coordinate_learning_rate),
        weights=one_rate(model, settings),
        within="long",
    )


def projected_candidate(
    model: nnx.Module, settings: TrainingSettings
) -> optax.GradientTransformation:
    """One rule and one rate, and a bounded candidate matrix after each step."""
    rule = one_rate(model, settings)
    project = gs.optim.project_spectral_norm(settings.spectral_limit)
    return partition(
        model, coordinates=optax.chain(rule, project), weights=rule, within="candidate"
    )


def unit_reflectors(
    model: nnx.Module, settings: TrainingSettings
) -> optax.GradientTransformation:
    """One rule and one rate, and reflectors of unit length after each step."""
    rule = one_rate(model, settings)
    return partition(model, coordinates=optax.chain(rule, unit_columns()), weights=rule)


def partition(
    model: nnx.Module,
    *,
    coordinates: optax.GradientTransformation,
    weights: optax.GradientTransformation,
    within: str = "",
) -> optax.GradientTransformation:
    """Gives the coordinates of a model an optimizer of their own.

    Args:
        model: the model.
        coordinates: the optimizer of its coordinates.
        weights: that of all else.
        within: the matrix whose coordinates are meant; all matrices if empty.

    Returns:
        The two as one.
    """

    def label(path, is_coordinate):
        names = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
        is_meant = is_coordinate and (not within or within in names)
        return "coordinates" if is_meant else "weights"

    mask = gs.nn.unconstrained_mask(model)
    labels = jax.tree_util.tree_map_with_path(label, mask)
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
