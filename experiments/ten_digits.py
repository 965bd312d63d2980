"""What tasks with ten digits for answers share."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from experiments.experiment import Check
from experiments.settings import MethodName
from experiments.summary import Summary
from experiments.task import Task


def hits(
    answers: Float[Array, "batch 10"], digits: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """1 for each sequence whose largest logit is that of its digit."""
    return jnp.where(jnp.argmax(answers, axis=-1) == digits, 1.0, 0.0)


TEN_DIGITS: Mapping[str, Any] = {
    "out_features": 10,
    "losses": optax.softmax_cross_entropy_with_integer_labels,
    "scores": hits,
    "score_label": "accuracy",
    "higher_is_better": True,
    "log_scale": False,
    "baseline": 0.1,
    "baseline_label": "guessing",
}


def constrained_read_better(
    task: Task, summaries: Mapping[MethodName, Summary]
) -> Sequence[Check]:
    """Tests whether what is constrained reads better than the plain RNN."""
    if "rnn" not in summaries:
        return []
    plain = summaries["rnn"].median
    return [
        Check(
            f"{summaries[method].title} names more digits than the tanh RNN",
            summaries[method].median > plain,
            f"{summaries[method].median:.3f} against {plain:.3f}",
        )
        for method in ("scornn", "spectral_rnn")
        if method in summaries
    ]
