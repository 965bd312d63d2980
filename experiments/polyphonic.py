"""Polyphonic music: which of 88 keys sound next.

Boulanger-Lewandowski, Bengio & Vincent, ICML 2012. The spectrally constrained GRU
(Kanai, Fujiwara & Iwamura, "Preventing Gradient Explosions in Gated Recurrent Units",
NeurIPS 2017) is trained on the folk tunes of Nottingham, with 200 hidden units and
gradient descent at a rate of 0.1; their table was not to be had.

What differs: pieces are cut into sequences of 100 time steps to be trained on, each of
which starts from nothing; validation and test read whole pieces. The loss of a sequence
is its mean over time. `--collection` names one of the other three collections.

What came out of `quick` on Nottingham, as the median test negative log-likelihood of a
time step, seeds 0, 1 and 2, 22.7 passes with 64 hidden units: tanh RNN 4.88, GRU 4.90,
clipped GRU 4.94, spectral GRU 5.03, LSTM 5.25. At this rate nothing diverges, and
nothing is gained by the constraint.

On JSB chorales, 1,000 steps and else as `quick`, starts on closed curves gain little in
discrete time and lose where the state is leaky. Medians: tanh RNN 9.39, with an
orthogonal start 9.45, on a torus 9.33; leaky RNN 10.42, on limit cycles 10.75, and with
`--dt 0.5` 9.72 and 10.13. Knowing how often each key sounds has 11.06.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.data.polyphonic import Collection, Roll, load_polyphonic
from experiments.experiment import Experiment
from experiments.settings import MethodName, OptimizerName, Preset, TrainingSettings
from experiments.task import Batch, Task
from experiments.weighted import Weighted, weighted_bernoulli

KEYS = 88


@dataclass(frozen=True)
class PolyphonicSettings(TrainingSettings):
    """Settings of the music.

    Attributes:
        collection: which one.
        length: time steps of a training sequence.
        validation_pieces: how many pieces are validated on, the first.
        test_pieces: how many pieces are tested on, the first.
    """

    methods: tuple[MethodName, ...] = (
        *("rnn", "gru", "clipped_gru", "lstm"),
        "spectral_gru",
    )
    hidden: int = 64
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.1
    clip: float = 5.0
    batch: int = 20
    steps: int = 2000
    evaluate_every: int = 200
    keep_going: bool = True
    collection: Collection = "nottingham"
    length: int = 100
    validation_pieces: int = 40
    test_pieces: int = 1000

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        counts = "length", "validation_pieces", "test_pieces"
        return super().problems() + self.below(1, *counts)


PRESETS: Mapping[Preset, PolyphonicSettings] = {
    "quick": PolyphonicSettings(),
    "paper": PolyphonicSettings(
        preset="paper",
        hidden=200,
        steps=90_000,  # some 50 passes
        evaluate_every=1000,
        validation_pieces=1000,
    ),
}


def polyphonic_task(settings: PolyphonicSettings) -> Task:
    """Makes the task."""
    splits = load_polyphonic(settings.collection, settings.data_dir)
    train = sequences_of_rolls(cut(splits.train, settings.length))
    test = splits.test[: settings.test_pieces]
    frames = np.concatenate(splits.train)
    often = (frames.sum(0) + 1) / (len(frames) + 2)
    played = np.concatenate(test)
    nats = -(played * np.log(often) + (1 - played) * np.log(1 - often)).sum(1).mean()

    def draw(key: Array, train: tuple[Array, Weighted]) -> Batch:
        inputs, targets = train
        chosen = jax.random.randint(key, (settings.batch,), 0, inputs.shape[0])
        return as_floats((inputs[chosen], jax.tree.map(lambda x: x[chosen], targets)))

    return Task(
        name="polyphonic",
        title=f"{settings.collection}, rate {settings.learning_rate:g}",
        in_features=KEYS,
        out_features=KEYS,
        train=train,
        draw=draw,
        validation=whole(splits.validation[: settings.validation_pieces]),
        test=whole(test),
        losses=weighted_bernoulli,
        scores=weighted_bernoulli,
        score_label="negative log-likelihood of a time step",
        higher_is_better=False,
        log_scale=False,
        baseline=float(nats),
        baseline_label="knowing how often each key sounds",
        budget=f"{settings.steps * settings.batch * settings.length / len(frames):.3g} "
        f"passes, with {settings.hidden} of its 200 hidden units",
        every_step=True,
    )


def cut(pieces: Sequence[Roll], length: int) -> list[tuple[Roll, Roll]]:
    """Cuts pieces into short sequences.

    Args:
        pieces: the pieces.
        length: the most time steps of a sequence.

    Returns:
        What is read and what is to be answered, a time step later; silence is read
        before the first time step of a piece.
    """
    found = []
    for piece in pieces:
        before = np.concatenate([np.zeros_like(piece[:1]), piece[:-1]])
        for first in range(0, len(piece), length):
            here = slice(first, first + length)
            found.append((before[here], piece[here]))
    return found


def sequences_of_rolls(pairs: Sequence[tuple[Roll, Roll]]) -> Batch:
    """Pads sequences with silence; weights make the mean over them that over time."""
    longest = max(len(read) for read, _ in pairs)
    shape = (len(pairs), longest, KEYS)
    read, answered = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    weights = np.zeros(shape[:2], np.float32)
    total = sum(len(one) for one, _ in pairs)
    for place, (one, other) in enumerate(pairs):
        read[place, : len(one)], answered[place, : len(one)] = one, other
        weights[place, : len(one)] = len(pairs) / total
    return jnp.asarray(read), Weighted(jnp.asarray(answered), jnp.asarray(weights))


def whole(pieces: Sequence[Roll]) -> Batch:
    """Gives whole pieces, as numbers."""
    return as_floats(sequences_of_rolls(cut(pieces, max(map(len, pieces)))))


def as_floats(batch: Batch) -> Batch:
    """Turns rolls into numbers."""
    return jax.tree.map(lambda x: x.astype(jnp.float32), batch)


POLYPHONIC = Experiment(
    summary="which keys of polyphonic music sound next",
    paper="Kanai et al. 2017; Boulanger-Lewandowski et al. 2012",
    data="polyphonic music",
    duration="6 min",
    presets=PRESETS,
    task=polyphonic_task,
    reads_files=True,
)
