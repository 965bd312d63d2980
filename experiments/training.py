"""Training one method on one task, and testing what it learned."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from experiments.fit import fit, stop_if_interrupted
from experiments.learner import Learner
from experiments.measurement import Measurement
from experiments.run_directory import RunDirectory
from experiments.sequence_model import SequenceModel
from experiments.settings import MethodName, TrainingSettings
from experiments.task import Task


@dataclass(frozen=True)
class Training:
    """What a training left behind.

    Attributes:
        method: which one was trained.
        models: for each seed the model at its best measurement.
        scores: for each seed the score of that model on the test set.
        best_steps: for each seed the steps taken by then.
        measurements: before the first step, then every `evaluate_every` steps.
        diverged: for each seed whether it validates worse at last than before the first
            step, or not at all.
        gradient: ‖∂L/∂h_t‖ after the last step, the mean over 64 validation sequences.
        seconds: see `Fit`.
        milliseconds_per_step: see `Fit`.
        milliseconds_per_draw: what drawing the batches of a step takes of it, or
            waiting for them.
    """

    method: MethodName
    models: list[SequenceModel]
    scores: Float[np.ndarray, " seeds"]
    best_steps: tuple[int, ...]
    measurements: list[Measurement]
    diverged: Bool[np.ndarray, " seeds"]
    gradient: Float[np.ndarray, "seeds time"]
    seconds: float
    milliseconds_per_step: float | None
    milliseconds_per_draw: float


def train(
    task: Task,
    method: MethodName,
    settings: TrainingSettings,
    directory: RunDirectory,
    advance: Callable[[int, float | None], None] = lambda step, score: None,
) -> Training:
    """Trains a method on a task, every seed in one program, and tests it.

    Args:
        task: what is learned.
        method: what learns it.
        settings: see the class; `seeds` names the runs.
        directory: see `fit`.
        advance: see `fit`.

    Returns:
        The trained models and the measurements: on one machine the same on every call,
        however often the training was stopped in between.

    Raises:
        NonFiniteLossError: see `fit`.
        InterruptedRunError: see `fit`; also after the last step.
        SettingsError: see `fit`.
    """
    learner = Learner(task, method, settings)
    done = fit(learner, settings, directory, advance)
    state, waited = done.state, done.milliseconds_waited
    training = Training(
        method=method,
        models=learner.models(state),
        scores=np.asarray(learner.evaluator.test(state)),
        best_steps=tuple(map(int, state.best_step)),
        measurements=done.measurements,
        diverged=diverged(done.measurements, task),
        gradient=np.asarray(learner.evaluator.validate(state, settings.steps)[2]),
        seconds=done.seconds,
        milliseconds_per_step=done.milliseconds_per_step,
        milliseconds_per_draw=(
            learner.milliseconds_per_draw(state) if waited is None else waited
        ),
    )
    stop_if_interrupted(settings.steps, method, settings)
    return training


def diverged(measured: list[Measurement], task: Task) -> Bool[np.ndarray, " seeds"]:
    """Tells which seeds validate worse at last than at first, or not at all."""
    first, last = measured[0].score, measured[-1].score
    return ~(last >= first if task.higher_is_better else last <= first)
