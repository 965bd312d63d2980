"""What the gradients of a saved state do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import gradstab as gs
from experiments.checkpoints import Checkpoints
from experiments.evaluation import Evaluator, first_sequences
from experiments.learner import Learner
from experiments.methods import METHODS
from experiments.sequence_model import SequenceModel
from experiments.settings import MethodName, TrainingSettings
from experiments.state import State
from experiments.table import print_table
from experiments.task import Batch, Task

MOMENTS = 5  # time steps at which the gradient is printed


def diagnose(
    task: Task,
    method: MethodName,
    settings: TrainingSettings,
    checkpoints: Path,
    reports: Path,
) -> dict[str, Any] | None:
    """Reads the newest sound state of a training and measures its gradients.

    Args:
        task: what was learned.
        method: what learned it.
        settings: see the class.
        checkpoints: the directory of its checkpoints, which is only read.
        reports: where a folder for each seed gets the report on its network.

    Returns:
        Numbers fit for JSON, a list of one for each seed where they differ; None if no
        state was saved.
    """
    learner = Learner(task, method, settings)
    start = learner.start(settings)
    if not checkpoints.is_dir():
        return None
    with Checkpoints(checkpoints, read_only=True) as saved:
        step, state, notes = saved.restore(start)
    if not notes:
        return None
    found = report(task, learner.present_models(state), state.optimizer)
    for seed, one in zip(settings.seeds, found, strict=True):
        one.save(reports / task.name / method / f"seed{seed}")
    return {
        "task": task.name,
        "method": method,
        "seeds": list(settings.seeds),
        "step": step,
        "verdicts": [one.verdict.sentence for one in found],
        **examine(learner.evaluator, state, step),
    }


def report(
    task: Task, models: Sequence[SequenceModel], optimizers: Any
) -> list[gs.diagnostics.Report]:
    """Diagnoses the network of each seed on validation sequences.

    Args:
        task: what was learned.
        models: a network for each seed.
        optimizers: the states of their optimizers, stacked.

    Returns:
        A report for each.
    """

    def loss(model: SequenceModel, batch: Batch) -> Float[Array, ""]:
        inputs, targets = batch
        return jnp.mean(task.losses(model(inputs), targets))

    batch = first_sequences(task.validation)
    return [
        gs.diagnostics.diagnose(
            model,
            batch,
            loss,
            opt_state=jax.tree.map(lambda leaf, at=place: leaf[at], optimizers),
        )
        for place, model in enumerate(models)
    ]


def examine(evaluator: Evaluator, state: State, step: int) -> dict[str, Any]:
    """Measures the gradients of a state.

    Args:
        evaluator: its programs.
        state: the state after `step` steps.
        step: how many steps were taken.

    Returns:
        `gradient_over_time`: ‖∂L/∂h_t‖; `parameters` and `gradients`: the Frobenius
        norm of each parameter and of its gradient.
    """
    _, _, profile = evaluator.validate(state, step)
    parameters, gradients = evaluator.norms(state)
    return {
        "gradient_over_time": _finite(profile),
        "parameters": {name: _finite(norm) for name, norm in parameters.items()},
        "gradients": {name: _finite(norm) for name, norm in gradients.items()},
    }


def print_diagnosis(found: Mapping[str, Any]) -> None:
    """Prints a table of the gradient over time and one of the parameters."""
    seeds = [f"seed {seed}" for seed in found["seeds"]]
    title = METHODS[found["method"]].title
    print(f"{title} on {found['task']} after {found['step']:,} steps")
    for seed, verdict in zip(seeds, found["verdicts"], strict=True):
        print(f"{seed}: {verdict}")
    profile = found["gradient_over_time"]
    last = len(profile[0]) - 1
    moments = sorted({round(last * part / (MOMENTS - 1)) for part in range(MOMENTS)})
    print_table(
        ("‖∂L/∂hₜ‖", *seeds),
        [(f"t = {t}", *(_short(one[t]) for one in profile)) for t in moments],
    )
    for what in ("parameters", "gradients"):
        print_table(
            (f"norm of {what}", *seeds),
            [(name, *map(_short, norms)) for name, norms in found[what].items()],
        )


def _finite(values: Any) -> Any:
    """Turns an array into lists, with None for what JSON cannot hold."""
    array = np.asarray(values, object)
    array[~np.isfinite(np.asarray(values, float))] = None
    return array.tolist()


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2e}"
