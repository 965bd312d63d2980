"""The Penn Treebank character by character.

NC-GRU (Mucllari et al., "Orthogonal Gated Recurrent Unit with Neumann-Cayley
Transformation", Neural Computation 2024, arXiv:2208.06496) reads it with 435 hidden
units of which 50 have a -1, an embedding as long, sequences of 100 characters, batches
of 32 and Adam at 7e-4 for 100 passes, and gives 1.385 bits per character; this is the
preset `paper`. ENRNN (Helfrich & Ye, AAAI 2020, arXiv:1911.07964) has a table of it
too, which was not to be had.

What differs: sequences start anywhere in the text, and from nothing; what is scored
follows 50 characters of context. The weights of the embedding and of the read-out are
not tied, and the rate is constant. `quick` is 1,500 steps with 128 hidden units, and
gave 1.936 bits per character for NC-GRU, 2.126 for the GRU, 2.147 for the tanh RNN and
2.454 for LSTM and ENRNN, at one rate for all.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.experiment import Experiment
from experiments.ptb import ptb_task
from experiments.settings import MethodName, Preset
from experiments.task import Task
from experiments.text import TextSettings

PASS = 5_017_482  # characters
PASSES = 100


@dataclass(frozen=True)
class CharPtbSettings(TextSettings):
    """Settings of the Penn Treebank by characters."""

    methods: tuple[MethodName, ...] = ("rnn", "gru", "lstm", "nc_gru", "enrnn")
    hidden: int = 128
    negatives: int = 15
    short: int = 24
    learning_rate: float = 2e-3
    batch: int = 32
    steps: int = 1500
    evaluate_every: int = 150
    seeds: tuple[int, ...] = (0,)
    embedding: int = 64
    length: int = 100
    context: int = 50
    validation_symbols: int = 20_000
    test_symbols: int = 442_423


PRESETS: Mapping[Preset, CharPtbSettings] = {
    "quick": CharPtbSettings(),
    "paper": CharPtbSettings(
        preset="paper",
        hidden=435,
        negatives=50,
        short=64,
        learning_rate=7e-4,
        steps=PASSES * PASS // (32 * 100),
        evaluate_every=1000,
        seeds=(0, 1, 2),
        embedding=435,
        validation_symbols=393_042,
    ),
}


def char_ptb_task(settings: CharPtbSettings) -> Task:
    """Makes the task."""
    return ptb_task("char", settings, PRESETS["paper"])


CHAR_PTB = Experiment(
    summary="the next character of the Penn Treebank",
    paper="Mucllari et al. 2024; Helfrich & Ye 2020",
    data="Penn Treebank",
    duration="6 min",
    presets=PRESETS,
    task=char_ptb_task,
    reads_files=True,
    published={"nc_gru": 1.385},
)
