"""Training one method on one task, all seeds side by side."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.gradient_profile import gradient_profile
from experiments.methods import METHODS
from experiments.sequence_model import SequenceModel
from experiments.settings import MethodName, TrainingSettings
from experiments.task import Task

PROFILED_SEQUENCES = 64


class NonFiniteLossError(Exception):
    """The loss of a run became infinite or NaN."""


class Measurement(NamedTuple):
    """What is known of each seed at one moment of the training."""

    step: int
    loss: Float[np.ndarray, " seeds"]  # mean since the measurement before; NaN at first
    score: Float[np.ndarray, " seeds"]
    gradient: Float[np.ndarray, "seeds time"]  # ‖∂L/∂h_t‖, mean over test sequences


@dataclass(frozen=True)
class Training:
    """What a training left behind.

    Attributes:
        method: which one was trained.
        models: one trained model a seed.
        measurements: before the first step, then every `evaluate_every` steps.
        seconds: for all seeds, compilation and measurements included.
        milliseconds_per_step: for all seeds, median; neither of the two included.
    """

    method: MethodName
    models: list[SequenceModel]
    measurements: list[Measurement]
    seconds: float
    milliseconds_per_step: float


class State(NamedTuple):
    """All that a training step changes, and the key that it draws from."""

    params: Any
    fixed: Any
    optimizer: Any
    key: Array


def train(
    task: Task,
    method: MethodName,
    settings: TrainingSettings,
    report: Callable[[Measurement], None] = lambda measurement: None,
) -> Training:
    """Trains a method on a task, every seed in one program.

    Args:
        task: what is learned.
        method: what learns it.
        settings: see the class; `seeds` names the runs.
        report: called with each measurement when it is made.

    Returns:
        The trained models and the measurements; the same on every call on one machine.

    Raises:
        NonFiniteLossError: at the first loss that is not finite.
    """
    began = time.perf_counter()

    def build(key: Array) -> SequenceModel:
        rngs = nnx.Rngs(key)
        cell = METHODS[method].cell(task.in_features, settings, rngs)
        return SequenceModel(cell, settings.hidden, task.out_features, rngs=rngs)

    outline = nnx.eval_shape(lambda: build(jax.random.key(0)))
    graph = nnx.graphdef(outline)
    optimizer = METHODS[method].optimizer(outline, settings)

    def start(key: Array) -> State:
        model_key, data_key = jax.random.split(key)
        _, params, fixed = nnx.split(build(model_key), nnx.Param, ...)
        return State(params, fixed, optimizer.init(params), data_key)

    def step(state: State, number: Array) -> tuple[State, Array]:
        inputs, targets = task.draw(jax.random.fold_in(state.key, number))

        def loss(params):
            model = nnx.merge(graph, params, state.fixed)
            return jnp.mean(task.losses(model(inputs), targets))

        value, gradient = jax.value_and_grad(loss)(state.params)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, optimizer=optimizer_state), value

    def measure(state: State) -> tuple[Array, Array]:
        model = gs.nn.materialize(nnx.merge(graph, state.params, state.fixed))
        inputs, targets = task.test
        some = slice(PROFILED_SEQUENCES)
        profile = gradient_profile(
            model.rnn.cell,
            lambda outputs: task.losses(model.answer(outputs), targets[some]),
            inputs[some],
        )
        return task.score(model(inputs), targets), jnp.mean(profile, axis=1)

    # A stretch of steps is one call: Python is not in the loop. A last, shorter
    # stretch compiles a second time.
    start_all = jax.jit(jax.vmap(start))
    train_stretch = jax.jit(
        jax.vmap(lambda state, numbers: jax.lax.scan(step, state, numbers), (0, None))
    )
    measure_all = jax.jit(jax.vmap(measure))

    seeds = jnp.asarray(settings.seeds, jnp.uint32)
    state = start_all(jax.vmap(jax.random.key)(seeds))
    measurements: list[Measurement] = []
    paces: list[float] = []

    def record(step: int, loss: Float[np.ndarray, " seeds"]) -> None:
        score, gradient = map(np.asarray, measure_all(state))
        check_finite(score[:, None], step, method, settings.seeds)
        measurements.append(Measurement(step, loss, score, gradient))
        report(measurements[-1])

    record(0, np.full(len(seeds), np.nan))
    for first in range(0, settings.steps, settings.evaluate_every):
        last = min(first + settings.evaluate_every, settings.steps)
        tick = time.perf_counter()
        state, losses = train_stretch(state, jnp.arange(first, last))
        losses = np.asarray(losses)
        paces.append((time.perf_counter() - tick) / (last - first))
        check_finite(losses, first, method, settings.seeds)
        record(last, np.mean(losses, axis=1))

    merged = nnx.merge(graph, state.params, state.fixed)
    models = [
        jax.tree.map(lambda leaf, at=place: leaf[at], merged)
        for place in range(len(seeds))
    ]
    pace = 1000 * float(np.median(paces[1:] or paces))
    return Training(method, models, measurements, time.perf_counter() - began, pace)


def check_finite(
    losses: Float[np.ndarray, "seeds steps"],
    first: int,
    method: MethodName,
    seeds: tuple[int, ...],
) -> None:
    """Stops a run whose loss, or score, is not finite.

    Args:
        losses: a number for each step of a stretch.
        first: number of its first step.
        method: which method was trained.
        seeds: the seed of each row.

    Raises:
        NonFiniteLossError: naming the earliest such loss.
    """
    rows, columns = np.nonzero(~np.isfinite(losses))
    if rows.size:
        at = int(np.argmin(columns))
        row, column = int(rows[at]), int(columns[at])
        raise NonFiniteLossError(
            f"{METHODS[method].title}, seed {seeds[row]}: the loss is "
            f"{losses[row, column]} at step {first + column}. Lower the learning rate."
        )
