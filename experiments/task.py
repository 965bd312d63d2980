"""What a task is to the training loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Array, Float

from experiments.data.stream import BatchStream

# Vectors (batch, time, features) or tokens (batch, time), and what is to be answered.
Batch = tuple[Array, Any]


@dataclass(frozen=True)
class Task:
    """Sequences in, predictions out: one a sequence, or one a time step.

    Attributes:
        name: as on the command line.
        title: for the head of a table or a figure.
        in_features: numbers read at each time step; of a vector if tokens are.
        out_features: numbers predicted.
        train: arrays that `draw` reads; empty if batches are generated.
        draw: pure function of a random key and `train` to a training batch.
        validation: the batch that the best moment of a run is chosen by.
        test: the batch that scores are reported on; no choice depends on it.
        losses: (predictions, targets) -> the loss of each sequence.
        scores: (predictions, targets) -> what each sequence adds to the mean reported.
        score_label: what the score is, with its unit.
        higher_is_better: whether a larger score is the better one.
        log_scale: whether scores are compared on a logarithmic axis.
        baseline: the score of an answer that needs no memory.
        baseline_label: which answer that is.
        budget: what part of the paper's budget a run is, in words.
        stream: seed -> training batches read from disk, if they come from there and not
            from `draw`.
        every_step: whether predictions are asked for at every time step.
        biased: whether the read-out has a bias.
        tokens: how many different tokens there are to read; 0 if vectors are read.
        link: what is reported of the mean of the scores.
        noted: what was drawn to make the task, for `run.json`.
    """

    name: str
    title: str
    in_features: int
    out_features: int
    train: Any
    draw: Callable[[Array, Any], Batch]
    validation: Batch
    test: Batch
    losses: Callable[[Any, Any], Float[Array, " batch"]]
    scores: Callable[[Any, Any], Float[Array, " batch"]]
    score_label: str
    higher_is_better: bool
    log_scale: bool
    baseline: float
    baseline_label: str
    budget: str
    stream: Callable[[int], BatchStream] | None = None
    every_step: bool = False
    biased: bool = True
    tokens: int = 0
    link: Callable[[Float[Array, ""]], Float[Array, ""]] = lambda mean: mean
    noted: Mapping[str, Any] = field(default_factory=dict)
