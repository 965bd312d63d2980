"""Predicting the next symbol of a text: what characters, words and toys share."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from experiments.settings import TrainingSettings
from experiments.task import Batch
from experiments.weighted import Weighted, weighted_cross_entropies


@dataclass(frozen=True)
class TextSettings(TrainingSettings):
    """Settings of a text.

    Attributes:
        embedding: length of the vector that is learned for each symbol.
        length: symbols of a training sequence, which starts anywhere in the text.
        context: symbols that are read before those that are scored, when the network is
            validated and tested; it starts from nothing there too.
        validation_symbols: how many symbols are validated on, the first.
        test_symbols: how many symbols are tested on, the first.
    """

    embedding: int = 32
    length: int = 35
    context: int = 35
    validation_symbols: int = 20_000
    test_symbols: int = 100_000

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "embedding", "length") + self.below(0, "context")
        least = self.context + 2
        return (
            super().problems()
            + found
            + self.below(least, "validation_symbols", "test_symbols")
        )


Stream = Int[np.ndarray, " symbols"]


def sequences_of_text(
    train: Stream, validation: Stream, test: Stream, settings: TextSettings
) -> dict[str, Any]:
    """Gives those arguments of a `Task` that hold its sequences and their losses.

    Args:
        train: what training sequences are cut from.
        validation: what is validated on.
        test: what is tested on.
        settings: how long sequences are.

    Returns:
        The arguments. The loss of a training sequence is the sum over its symbols.
    """
    length = settings.length

    def draw(key: Array, stream: Array) -> Batch:
        last = stream.shape[0] - length
        starts = jax.random.randint(key, (settings.batch, 1), 0, last)
        symbols = stream[starts + jnp.arange(length + 1)[None]]
        return symbols[:, :-1], Weighted(
            symbols[:, 1:], jnp.ones((settings.batch, length))
        )

    return {
        "train": jnp.asarray(train),
        "draw": draw,
        "validation": windows(validation[: settings.validation_symbols], settings),
        "test": windows(test[: settings.test_symbols], settings),
        "losses": weighted_cross_entropies,
        "scores": weighted_cross_entropies,
        "every_step": True,
    }


def windows(stream: Stream, settings: TextSettings) -> Batch:
    """Cuts a text so that every symbol is scored once, in context.

    Args:
        stream: the text.
        settings: `length` symbols of each window are scored, after `context` others.

    Returns:
        The windows. Their weights make the mean over windows that over symbols. The
        symbols within the first context, and the first one, are not scored.
    """
    size = settings.context + settings.length
    scored = len(stream) - 1 - settings.context
    count = math.ceil(scored / settings.length)
    places = settings.length * np.arange(count)[:, None] + np.arange(size + 1)
    symbols = stream[np.minimum(places, len(stream) - 1)]
    is_scored = (np.arange(size) >= settings.context) & (places[:, 1:] < len(stream))
    weights = is_scored * (count / scored)
    return jnp.asarray(symbols[:, :-1]), Weighted(
        jnp.asarray(symbols[:, 1:]), jnp.asarray(weights, jnp.float32)
    )


def unigram_entropy(train: Stream, test: Stream, symbols: int) -> float:
    """Measures what the frequencies of symbols alone give.

    Args:
        train: where the symbols are counted.
        test: where they are predicted.
        symbols: how many different ones there are; each is counted once more.

    Returns:
        The mean cross-entropy, in nats.
    """
    counts = np.bincount(train, minlength=symbols) + 1
    return float(-np.mean(np.log(counts / counts.sum())[test]))


def bits(nats: Any) -> Any:
    """Gives an entropy in bits."""
    return nats / math.log(2)
