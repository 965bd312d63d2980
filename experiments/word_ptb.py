"""The Penn Treebank word by word.

The spectrally constrained GRU (Kanai, Fujiwara & Iwamura, "Preventing Gradient
Explosions in Gated Recurrent Units", NeurIPS 2017) reads it with 650 hidden units, an
embedding as long, sequences of 35 words, batches of 20 and gradient descent at a rate
of 1 on the sum over time, for 75 passes; this is the preset `paper`, without dropout
and without the decay of its rate. Their tables were not to be had. SBO-RNN (Zhang et
al., NeurIPS 2021) gives a perplexity of 116.31 with 128 hidden units, where their tanh
RNN has 144.71 and their LSTM 117.41.

What differs: sequences start anywhere in the text, and from nothing; what is scored
follows 35 words of context. `quick` is three quarters of a pass with 128 hidden units,
every method by Adam at one rate, and gave perplexities of 198.0 for the spectral GRU,
238.9 for the GRU with clipped gradients and 424.9 for the GRU; `grid word_ptb` has each
at its own rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.experiment import Experiment
from experiments.ptb import ptb_task
from experiments.settings import MethodName, Preset
from experiments.task import Task
from experiments.text import TextSettings

PASS = 929_589  # words
PASSES = 75


@dataclass(frozen=True)
class WordPtbSettings(TextSettings):
    """Settings of the Penn Treebank by words."""

    methods: tuple[MethodName, ...] = ("gru", "clipped_gru", "spectral_gru")
    hidden: int = 128
    rank: int = 50
    clip: float = 5.0
    batch: int = 20
    learning_rate: float = 3e-3
    steps: int = 1000
    evaluate_every: int = 250
    seeds: tuple[int, ...] = (0,)
    keep_going: bool = True
    embedding: int = 128
    validation_symbols: int = 5000
    test_symbols: int = 82_430


PRESETS: Mapping[Preset, WordPtbSettings] = {
    "quick": WordPtbSettings(),
    "paper": WordPtbSettings(
        preset="paper",
        hidden=650,
        optimizer="sgd",
        learning_rate=1.0,
        steps=PASSES * PASS // (20 * 35),
        evaluate_every=1000,
        seeds=(0, 1, 2),
        embedding=650,
        validation_symbols=73_760,
    ),
}


def word_ptb_task(settings: WordPtbSettings) -> Task:
    """Makes the task."""
    return ptb_task("word", settings, PRESETS["paper"])


WORD_PTB = Experiment(
    summary="the next word of the Penn Treebank",
    paper="Kanai et al. 2017; Zhang et al. 2021",
    data="Penn Treebank",
    duration="9 min",
    presets=PRESETS,
    task=word_ptb_task,
    reads_files=True,
    published={"sbo_rnn": 116.31, "rnn": 144.71, "lstm": 117.41},
)
