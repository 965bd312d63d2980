"""What a task is to the training loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Array, Float

Batch = tuple[Float[Array, "batch time features"], Array]


@dataclass(frozen=True)
class Task:
    """Sequences in, one prediction a sequence out.

    Attributes:
        name: as on the command line.
        title: for the head of a table or a figure.
        in_features: numbers read at each time step.
        out_features: numbers predicted.
        draw: pure function of a random key to a training batch.
        test: the batch that scores are measured on; no choice depends on it.
        losses: (predictions, targets) -> the loss of each sequence.
        score: (predictions, targets) -> the number reported.
        score_label: what the score is, with its unit.
        log_scale: whether scores are compared on a logarithmic axis.
        baseline: the score of a constant answer.
        baseline_label: which answer that is.
        budget: what part of the paper's budget a run is, in words.
    """

    name: str
    title: str
    in_features: int
    out_features: int
    draw: Callable[[Array], Batch]
    test: Batch
    losses: Callable[[Any, Any], Float[Array, " batch"]]
    score: Callable[[Any, Any], Float[Array, ""]]
    score_label: str
    log_scale: bool
    baseline: float
    baseline_label: str
    budget: str
