"""The Penn Treebank as a task, by characters or by words."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from experiments.data import load_ptb
from experiments.task import Task
from experiments.text import TextSettings, bits, sequences_of_text, unigram_entropy

Level = Literal["char", "word"]


class Reading(NamedTuple):
    """How a text is read.

    Attributes:
        symbol: what it is read by.
        link: makes the score of a mean cross-entropy in nats.
        score: what the score is called.
        perplexity: whether the score grows exponentially with the entropy.
    """

    symbol: str
    link: Any
    score: str
    perplexity: bool


READINGS: dict[Level, Reading] = {
    "char": Reading("character", bits, "bits per character", perplexity=False),
    "word": Reading("word", jnp.exp, "perplexity", perplexity=True),
}


def ptb_task(level: Level, settings: TextSettings, paper: TextSettings) -> Task:
    """Makes the task.

    Args:
        level: what a symbol is.
        settings: those of the run.
        paper: those of the preset `paper`, which the budget is measured by.

    Returns:
        The task.
    """
    reading = READINGS[level]
    streams = load_ptb(level, settings.data_dir)
    symbols = len(streams.vocabulary)
    entropy = unigram_entropy(streams.train, streams.test, symbols)
    share = _symbols_read(settings) / _symbols_read(paper)
    passes = round(_symbols_read(paper) / len(streams.train))
    return Task(
        name=f"{level}_ptb",
        title=f"Penn Treebank by {reading.symbol}s, rate {settings.learning_rate:g}",
        in_features=settings.embedding,
        out_features=symbols,
        tokens=symbols,
        **sequences_of_text(streams.train, streams.validation, streams.test, settings),
        link=reading.link,
        score_label=reading.score,
        higher_is_better=False,
        log_scale=reading.perplexity,
        baseline=float(reading.link(entropy)),
        baseline_label=f"knowing how frequent each {reading.symbol} is",
        budget=f"{100 * share:.3g}% of its {passes} passes, with "
        f"{settings.hidden} of its {paper.hidden} hidden units",
    )


def _symbols_read(settings: TextSettings) -> int:
    return settings.steps * settings.batch * settings.length
