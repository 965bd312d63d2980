"""The numbers of one training: what a row of the table says."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

import gradstab as gs
from experiments.methods import METHODS
from experiments.settings import MethodName
from experiments.training import Training


@dataclass(frozen=True)
class Summary:
    """What came out of training one method.

    Attributes:
        method: which one.
        scores: test score of each seed, of the parameters that validated best.
        best_steps: for each seed the steps taken by then.
        diverged: how many seeds validated worse at last than before the first step, or
            had a loss that was not finite.
        worst_loss: for each seed the largest training loss of a step, the first third
            of the training left out.
        largest_norm: for each seed the largest norm of the gradient of a step, before
            any clipping.
        parameters: how many numbers one model trains.
        seconds: for all seeds, compilation and measurements included.
        milliseconds_per_step: for all seeds, neither of the two included.
        waiting: what part of that the drawing of the batches takes. Both are None if
            the run was too short to time.
        gradient: ‖∂L/∂h_t‖ after the last step, median over seeds.
        orthogonality: the largest ‖QᵀQ - I‖₁ over all matrices Q that are orthogonal by
            construction and all seeds; None if there are none.
        overshoot: how far singular values leave the interval they are held in, at
            worst; None if no matrix is constrained.
    """

    method: MethodName
    scores: tuple[float, ...]
    best_steps: tuple[int, ...]
    diverged: int
    worst_loss: tuple[float, ...]
    largest_norm: tuple[float, ...]
    parameters: int
    seconds: float
    milliseconds_per_step: float | None
    waiting: float | None
    gradient: tuple[float, ...]
    orthogonality: float | None
    overshoot: float | None

    @property
    def title(self) -> str:
        """The name of the method."""
        return METHODS[self.method].title

    @property
    def median(self) -> float:
        """The median score over the seeds."""
        return float(np.median(self.scores))

    @property
    def gradient_ratio(self) -> float:
        """The smallest ‖∂L/∂h_t‖ over the largest."""
        return min(self.gradient) / (max(self.gradient) or 1)

    def to_dict(self) -> dict[str, Any]:
        """Gives the numbers for JSON, which has null for what is not finite."""
        fields = "gradient", "worst_loss", "largest_norm"
        return asdict(self) | {
            field: [x if math.isfinite(x) else None for x in getattr(self, field)]
            for field in fields
        }

    def quantities(self) -> dict[str, str]:
        """The rows of a table, each with its label."""
        spread = {
            "median over seeds": f"{self.median:.4f}",
            "lowest": f"{min(self.scores):.4f}",
            "highest": f"{max(self.scores):.4f}",
        }
        return {
            **(spread if len(self.scores) > 1 else {"one seed": f"{self.median:.4f}"}),
            "seeds that diverged": f"{self.diverged} of {len(self.scores)}",
            "largest loss, a third left out": f"{np.max(self.worst_loss):.2g}",
            "largest gradient": f"{np.max(self.largest_norm):.2g}",
            "parameters": f"{self.parameters:,}",
            "seconds, with compilation": f"{self.seconds:.1f}",
            "milliseconds a step": _or_dash(self.milliseconds_per_step, ".2f"),
            "of it waiting for data": _or_dash(self.waiting, ".1%"),
            "smallest ‖∂L/∂hₜ‖ over time": f"{min(self.gradient):.1e}",
            "largest ‖∂L/∂hₜ‖ over time": f"{max(self.gradient):.1e}",
            "‖QᵀQ - I‖₁ of orthogonal Q": _or_dash(self.orthogonality, ".0e"),
            "singular values leave by": _or_dash(self.overshoot, ".0e"),
        }


NOTES = (
    "Scores: on the test set, of the parameters that scored best in validation.",
    "Diverged: validates worse at last than untrained, or had a loss not finite.",
    "Largest: of all steps and seeds; losses without the first third of the steps.",
    "‖∂L/∂hₜ‖: after training, mean over 64 validation sequences, median over seeds.",
    "Q: the orthogonal matrix of a cell; for Spectral-RNN its factors U and V.",
    "Singular values: how far they leave their interval. Both: worst of all seeds.",
)


def summarize(training: Training) -> Summary:
    """Reads the numbers off a training."""
    found = [error for model in training.models for error in constraint_errors(model)]
    orthogonality = [error for error, _ in found if error is not None]
    overshoots = [overshoot for _, overshoot in found]
    step = training.milliseconds_per_step
    measured = training.measurements
    late = [
        one
        for before, one in itertools.pairwise(measured)
        if 3 * before.step >= measured[-1].step
    ]
    return Summary(
        method=training.method,
        scores=tuple(map(float, training.scores)),
        best_steps=training.best_steps,
        diverged=int(np.sum(training.diverged)),
        worst_loss=largest([one.worst_loss for one in late or measured[1:]]),
        largest_norm=largest([one.largest_norm for one in measured[1:]]),
        parameters=count_parameters(training.models[0]),
        seconds=training.seconds,
        milliseconds_per_step=training.milliseconds_per_step,
        waiting=step and training.milliseconds_per_draw / step,
        gradient=tuple(map(float, np.median(training.gradient, axis=0))),
        orthogonality=max(orthogonality, default=None),
        overshoot=max(overshoots, default=None),
    )


def largest(values: Sequence[Float[np.ndarray, " seeds"]]) -> tuple[float, ...]:
    """Returns the largest number of each seed; NaN if one is."""
    return tuple(map(float, np.max(np.stack(values), axis=0)))


def parametrizations(model: nnx.Module) -> list[gs.nn.Parametrization]:
    """Lists the constrained matrices of a model."""
    nodes = (node for _, node in nnx.iter_modules(model))
    return [node for node in nodes if isinstance(node, gs.nn.Parametrization)]


def count_parameters(model: nnx.Module) -> int:
    """Counts the numbers that training moves.

    Coordinates that are stored but never read do not count: a skew-symmetric matrix of
    size n has n (n - 1) / 2 of them, not n².

    Args:
        model: a model.

    Returns:
        The count.
    """

    def stored(module: nnx.Module) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))

    maps = parametrizations(model)
    return stored(model) + sum(map_.free_parameters - stored(map_) for map_ in maps)


def constraint_errors(model: nnx.Module) -> list[tuple[float | None, float]]:
    """Measures how well each constraint holds.

    Args:
        model: a model.

    Returns:
        For each constrained matrix the largest ‖QᵀQ - I‖₁ of what is orthogonal by
        construction, and how far its singular values leave their interval. For an
        `SVD` the orthogonal matrices are its two factors.
    """
    found = []
    for parametrization in parametrizations(model):
        low, high = parametrization.singular_value_bounds
        if isinstance(parametrization, gs.nn.SVD):
            sides = (parametrization.left[...], parametrization.right[...])
            factors = [gs.linalg.householder_product(vectors) for vectors in sides]
        else:
            is_orthogonal = low == high == 1 or isinstance(
                parametrization, gs.nn.NeumannCayley
            )
            factors = [parametrization()] if is_orthogonal else []
        values = np.linalg.svd(np.asarray(parametrization(), float), compute_uv=False)
        found.append((
            max(
                (float(gs.linalg.orthogonality_error(q)) for q in factors), default=None
            ),
            float(max(low - values.min(initial=low), values.max(initial=0) - high, 0)),
        ))
    return found


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
