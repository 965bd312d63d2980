"""The loop of training steps and measurements; resumed where it was stopped."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import Float, Int

from experiments.checkpoints import Checkpoints
from experiments.feed import Feed
from experiments.interruption import InterruptedRunError, is_interrupted
from experiments.learner import Learner
from experiments.measurement import Measurement, from_records, to_records
from experiments.methods import METHODS
from experiments.pace import Pace
from experiments.run_directory import RunDirectory, SettingsError
from experiments.settings import MethodName, TrainingSettings
from experiments.state import State
from experiments.task import Task


class NonFiniteLossError(Exception):
    """The loss of a run became infinite or NaN."""


@dataclass(frozen=True)
class Fit:
    """What the steps of a training led to.

    Attributes:
        state: after the last step.
        measurements: before the first step, then every `evaluate_every` steps.
        seconds: for all seeds, compilation and measurements included, over all the
            times that the run was started.
        milliseconds_per_step: for all seeds, median; neither of the two included. None
            if all steps were compiled in.
        milliseconds_waited: what a step waited for batches from disk; None if they are
            drawn within it.
    """

    state: State
    measurements: list[Measurement]
    seconds: float
    milliseconds_per_step: float | None
    milliseconds_waited: float | None


def fit(
    learner: Learner,
    settings: TrainingSettings,
    directory: RunDirectory,
    advance: Callable[[int, float | None], None] = lambda step, score: None,
) -> Fit:
    """Takes all training steps, or those that are left.

    Args:
        learner: its programs.
        settings: see the class; `seeds` names the runs.
        directory: where measurements and checkpoints go, and where a training that was
            stopped is found again.
        advance: called with the steps taken, and the median validation score when it
            has just been measured.

    Returns:
        The state and the measurements: on one machine the same on every call, however
        often the training was stopped in between.

    Raises:
        NonFiniteLossError: at a loss that is not finite, unless the settings keep
            going; the last checkpoint then holds the state that was measured last.
        InterruptedRunError: after a signal, when the state has been saved.
        SettingsError: if the checkpoints found are of another model, or do not fit the
            measurements found.
    """
    began = time.perf_counter()
    task, method = learner.task, learner.method
    feed = Feed(task.stream, settings.seeds) if task.stream else None
    with Checkpoints(directory.checkpoints(task.name, method)) as saved:
        done, state, notes = saved.restore(learner.start(settings))
        measurements = recorded(directory, task, method, settings, done)
        pace = Pace(notes.get("milliseconds_per_step"))
        saved_at = began

        def seconds() -> float:
            return notes.get("seconds", 0.0) + time.perf_counter() - began

        def save() -> None:
            nonlocal saved_at
            noted = {"seconds": seconds(), "milliseconds_per_step": pace.milliseconds}
            saved.save(done, state, noted)
            saved_at = time.perf_counter()

        def measure() -> None:
            nonlocal state, sound
            state, measurement = take_measurement(learner, state, done, settings)
            what = f"a parameter or the score after step {done}"
            check_finite(measurement.score, what, method, settings)
            measurements.append(measurement)
            directory.log(to_records(measurement, task.name, method, settings.seeds))
            advance(done, float(np.median(measurement.score)))
            sound = done, state

        sound = done, state
        stop_if_interrupted(done, method, settings)
        try:
            if not done:
                measure()
            while done < settings.steps:
                until = min(
                    next_measurement(done, settings), done + pace.steps_in_stretch
                )
                stretch = partial(learner.advance, state, done, until, feed)
                state = pace.time(stretch, until - done)
                check_steps(state.bad_step, method, settings)
                done = until
                advance(done, None)
                if done == settings.steps or done % settings.evaluate_every == 0:
                    measure()
                if is_interrupted():
                    save()
                stop_if_interrupted(done, method, settings)
                unsaved = time.perf_counter() - saved_at
                if done == settings.steps or unsaved > settings.save_every:
                    save()
        except NonFiniteLossError:
            done, state = sound
            save()
            raise
    waited = feed.milliseconds if feed else None
    return Fit(state, measurements, seconds(), pace.milliseconds, waited)


def next_measurement(done: int, settings: TrainingSettings) -> int:
    """Returns after how many steps the next measurement is due."""
    every = settings.evaluate_every
    return min((done // every + 1) * every, settings.steps)


def take_measurement(
    learner: Learner, state: State, step: int, settings: TrainingSettings
) -> tuple[State, Measurement]:
    """Measures a state; the one returned has remembered it if it is the best."""
    every = settings.evaluate_every
    since = step - (max(step - 1, 0) // every) * every or np.nan
    kept, score, gradient = learner.evaluator.validate(state, step)
    return kept, Measurement(
        step,
        np.asarray(state.loss_sum) / since,
        np.asarray(state.worst_loss) + 0 * since,
        np.asarray(state.largest_norm) + 0 * since,
        np.asarray(score),
        np.min(gradient, axis=1),
        np.max(gradient, axis=1),
    )


def recorded(
    directory: RunDirectory,
    task: Task,
    method: MethodName,
    settings: TrainingSettings,
    done: int,
) -> list[Measurement]:
    """Reads the measurements up to a checkpoint, and drops those after it.

    Args:
        directory: where they are.
        task: what is learned.
        method: what learns it.
        settings: see the class.
        done: the step of the checkpoint; 0 if there is none.

    Returns:
        The measurements: none if no step is saved, since the one before the first step
        is then made again.

    Raises:
        SettingsError: if some are missing.
    """
    records = directory.rewind(task.name, method, done or -1)
    every = settings.evaluate_every
    due = [step for step in range(0, done + 1, every)] if done else []
    if done == settings.steps and done % every:
        due.append(done)
    try:
        found = from_records(records, len(settings.seeds))
    except ValueError:
        found = []
    if [one.step for one in found] != due:
        raise SettingsError(
            f"{directory.path / 'metrics.jsonl'} lacks measurements of {method} that "
            f"its checkpoint at step {done} had; give --force to start again."
        )
    return found


def stop_if_interrupted(
    done: int, method: MethodName, settings: TrainingSettings
) -> None:
    """Ends a training that is saved, if a signal asked for it.

    Args:
        done: steps taken.
        method: which method is trained.
        settings: its settings.

    Raises:
        InterruptedRunError: saying how to go on.
    """
    if is_interrupted():
        without = " without --force" if settings.force else ""
        raise InterruptedRunError(
            f"{METHODS[method].title}: stopped after step {done:,} of "
            f"{settings.steps:,}; the same command{without} goes on from there."
        )


def check_steps(
    bad_step: Int[jax.Array, " seeds"], method: MethodName, settings: TrainingSettings
) -> None:
    """Stops a run in which a loss or a parameter has not been finite.

    Args:
        bad_step: for each seed the first such step; -1 if there was none.
        method: which method is trained.
        settings: its settings.

    Raises:
        NonFiniteLossError: naming the seed and the step.
    """
    bad = np.asarray(bad_step)
    if np.any(bad >= 0):
        step = bad[bad >= 0].min()
        first = np.where(bad == step, np.nan, 0)
        check_finite(first, f"the loss or a parameter at step {step}", method, settings)


def check_finite(
    values: Float[np.ndarray, " seeds"],
    what: str,
    method: MethodName,
    settings: TrainingSettings,
) -> None:
    """Stops a run where a number is not finite.

    Args:
        values: one for each seed.
        what: what they are, for the error.
        method: which method is trained.
        settings: its settings.

    Raises:
        NonFiniteLossError: naming the seed and what it is, unless the settings keep
            going.
    """
    if settings.keep_going:
        return
    for seed, value in zip(settings.seeds, values, strict=True):
        if not np.isfinite(value):
            raise NonFiniteLossError(
                f"{METHODS[method].title}, seed {seed}: {what} is infinite or NaN. "
                "Lower the learning rate."
            )
