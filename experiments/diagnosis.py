"""What the gradients of a saved state do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.checkpoints import Checkpoints
from experiments.evaluation import Evaluator
from experiments.learner import Learner
from experiments.methods import METHODS
from experiments.settings import MethodName, TrainingSettings
from experiments.state import State
from experiments.table import print_table
from experiments.task import Task

MOMENTS = 5  # time steps at which the gradient is printed


def diagnose(
    task: Task, method: MethodName, settings: TrainingSettings, checkpoints: Path
) -> dict[str, Any] | None:
    """Reads the newest sound state of a training and measures its gradients.

    Args:
        task: what was learned.
        method: what learned it.
        settings: see the class.
        checkpoints: the directory of its checkpoints, which is only read.

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
    return {
        "task": task.name,
        "method": method,
        "seeds": list(settings.seeds),
        "step": step,
        **examine(learner.evaluator, state, step),
    }


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
