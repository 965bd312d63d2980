"""One method's model of one task, as pure functions of its parameters."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.cells import symmetric_uniform
from experiments.methods import METHODS
from experiments.sequence_model import SequenceModel
from experiments.settings import USERS, MethodName, TrainingSettings
from experiments.task import Batch, Task

# Sequences, and numbers answered: those of all sequences at once are in memory.
EVALUATED_AT_ONCE, ANSWERS_AT_ONCE = 500, 2**25


class Network:
    """Builds models of one structure, and says what they give.

    Args:
        task: what is learned.
        method: what learns it.
        settings: see the class.

    Attributes:
        outline: a model without its numbers.
    """

    def __init__(self, task: Task, method: MethodName, settings: TrainingSettings):
        self._task = task
        self._build = partial(build_model, task, method, settings)
        self.outline = nnx.eval_shape(lambda: self._build(jax.random.key(0)))
        self._graph = nnx.graphdef(self.outline)

    def init(self, key: Array) -> tuple[Any, Any]:
        """Draws the parameters of an untrained model, and the rest of it."""
        _, params, fixed = nnx.split(self._build(key), nnx.Param, ...)
        return params, fixed

    def model(self, params: Any, fixed: Any) -> SequenceModel:
        """Puts a model together."""
        return nnx.merge(self._graph, params, fixed)

    def loss(
        self, params: Any, fixed: Any, batch: Batch, key: Array | None = None
    ) -> Float[Array, ""]:
        """The mean loss of some sequences; with a key that of training."""
        inputs, targets = batch
        model = self.model(params, fixed)
        if key is None:
            model.eval()
        return jnp.mean(self._task.losses(model(inputs, key), targets))

    def refresh(self, params: Any, fixed: Any) -> tuple[Any, Any]:
        """Re-anchors the matrices of a model."""
        model = gs.nn.refresh(self.model(params, fixed))
        _, params, fixed = nnx.split(model, nnx.Param, ...)
        return params, fixed

    def score(self, params: Any, fixed: Any, batch: Batch) -> Float[Array, ""]:
        """What is reported of the mean score of some sequences."""
        model = gs.nn.materialize(self.model(params, fixed))
        model.eval()

        def score_one(sequence: Batch) -> Float[Array, ""]:
            inputs, targets = jax.tree.map(lambda x: x[None], sequence)
            return self._task.scores(model(inputs), targets)[0]

        answers = self._task.out_features
        if self._task.every_step:
            answers *= batch[0].shape[1]
        at_once = max(1, min(EVALUATED_AT_ONCE, ANSWERS_AT_ONCE // answers))
        scores = jax.lax.map(score_one, batch, batch_size=at_once)
        return self._task.link(jnp.mean(scores))

    def gradient_over_time(
        self, params: Any, fixed: Any, batch: Batch
    ) -> Float[Array, " time"]:
        """‖∂L/∂h_t‖, the mean over some sequences."""

        # No sequence sees another: the gradient of the sum holds that of each.
        def total(model: SequenceModel, batch: Batch) -> Float[Array, ""]:
            inputs, targets = batch
            return jnp.sum(self._task.losses(model(inputs), targets))

        model = self.model(params, fixed)
        model.eval()
        profile = gs.diagnostics.gradient_norms(model, batch, total)["rnn"]
        return jnp.mean(profile, axis=1)


def build_model(
    task: Task, method: MethodName, settings: TrainingSettings, key: Array
) -> SequenceModel:
    """Builds the untrained model of one seed."""
    rngs = nnx.Rngs(key)
    cell = METHODS[method].cell(task.in_features, settings, rngs)
    model = SequenceModel(
        cell,
        settings.hidden,
        task.out_features,
        every_step=task.every_step,
        biased=task.biased,
        tokens=task.tokens,
        in_features=task.in_features,
        rngs=rngs,
    )
    if settings.uniform and method in USERS["uniform"]:
        start_uniform(model, settings.hidden**-0.5, rngs)
    return model


def start_uniform(model: nnx.Module, limit: float, rngs: nnx.Rngs) -> None:
    """Draws every parameter anew, uniform in (-limit, limit)."""
    draw = symmetric_uniform(limit)
    params = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda x: draw(rngs.params(), x.shape), params))
