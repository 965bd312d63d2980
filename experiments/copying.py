"""The copying problem, for constrained and unconstrained recurrences.

Ten symbols, a pause, and the ten symbols again: Arjovsky, Shah & Bengio, "Unitary
Evolution Recurrent Neural Networks", ICML 2016, arXiv:1511.06464. The preset `paper` is
the setting of Helfrich, Willmott & Ye, ICML 2018, arXiv:1707.09520: T = 1000, 190
hidden units of which 95 have a -1, RMSprop at 1e-3 and at 1e-4 for the coordinates, 10
thousand batches of 20. `quick` has T = 100 and 68 hidden units of which 22 have a -1;
12 of those of ENRNN (Helfrich & Ye, AAAI 2020, arXiv:1911.07964) are its short memory.

The preset `h_detach` is about the training, not the task: five symbols, Adam at 5e-3,
an LSTM with and without h-detach (Arpit et al., ICLR 2019, arXiv:1810.03023), whose
authors report that the LSTM is unstable without the clipping of gradients. All numbers
start uniform in ±1/√n, as theirs; from Flax's start, with a read-out of zeros, the LSTM
stays at the baseline and calm. After the first 1,000 of 3,000 steps the largest loss of
six seeds was 3.0 for the LSTM and 0.096 for h-detach at a probability of 1/2, the
longest gradient 157 and 6.5; but neither learns much: medians of 0.0939 and 0.0946,
where keeping nothing has 0.0945. At 1/4 (seeds 0, 1 and 2) h-detach learns more, 0.0823
against 0.0903, and is less calm: 0.30 and 7.3, where the LSTM has 0.89 and 18.

What differs: sequences are drawn anew for each batch and never seen twice, and every
method starts from the same answer to everything. All are trained by RMSprop but in
`h_detach`.

What came out of `quick`, as the median test cross-entropy of seeds 0, 1 and 2, where
keeping nothing has 0.1733: tanh RNN 0.1734, GRU 0.1736, LSTM 0.1741, scoRNN 0.0053,
expRNN 0.0276, Spectral-RNN 0.1630, orthogonal GRU 0.1734, orthogonal LSTM 0.1735, ENRNN
0.0018 with as many parameters as scoRNN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from experiments.data import copying_baseline, copying_batch
from experiments.experiment import Check, Experiment
from experiments.generated import GeneratedSettings, sequences_of
from experiments.losses import cross_entropies
from experiments.settings import MethodName, OptimizerName, Preset
from experiments.summary import Summary
from experiments.task import Task

PAPER_STEPS = 10_000 * 20 * 1020


@dataclass(frozen=True)
class CopyingSettings(GeneratedSettings):
    """Settings of the copying problem.

    Attributes:
        length: time steps of the pause, T.
        symbols: how many are kept, S; a sequence has T + 2 S time steps.
    """

    methods: tuple[MethodName, ...] = ("rnn", "lstm", "scornn", "enrnn")
    hidden: int = 68
    reflectors: int = 16
    negatives: int = 22
    short: int = 12
    optimizer: OptimizerName = "rmsprop"
    batch: int = 20
    steps: int = 2000
    length: int = 100
    symbols: int = 10
    validation_sequences: int = 200
    test_sequences: int = 2000

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        return super().problems() + self.below(1, "symbols")


PRESETS: Mapping[Preset, CopyingSettings] = {
    "quick": CopyingSettings(),
    "paper": CopyingSettings(
        preset="paper",
        hidden=190,
        negatives=95,
        steps=10_000,
        evaluate_every=500,
        length=1000,
    ),
    "h_detach": CopyingSettings(
        preset="h_detach",
        methods=("lstm", "h_detach"),
        hidden=64,
        optimizer="adam",
        learning_rate=5e-3,
        batch=32,
        steps=3000,
        p_detach=0.5,
        uniform=True,
        seeds=(0, 1, 2, 3, 4, 5),
        symbols=5,
    ),
}


def copying_task(settings: CopyingSettings) -> Task:
    """Makes the task."""
    time, symbols = settings.length + 2 * settings.symbols, settings.symbols
    share = settings.steps * settings.batch * time / PAPER_STEPS
    return Task(
        name="copying",
        title=f"Copying problem, T = {settings.length}, S = {symbols}",
        in_features=10,
        out_features=9,
        **sequences_of(settings, partial(copying_batch, symbols=symbols)),
        losses=cross_entropies,
        scores=cross_entropies,
        score_label="cross-entropy",
        higher_is_better=False,
        log_scale=True,
        baseline=copying_baseline(settings.length, symbols),
        baseline_label="keeping nothing (S ln 8 / (T + 2 S))",
        budget=f"{100 * share:.3g}% of the time steps of its 10,000 batches of 20 at "
        f"T = 1000, with {settings.hidden} of its 190 hidden units",
        every_step=True,
    )


def copying_checks(
    task: Task, summaries: Mapping[MethodName, Summary]
) -> Sequence[Check]:
    """Tests whether scoRNN remembers, and ENRNN more; and what h-detach steadies."""
    if {"lstm", "h_detach"} <= set(summaries):
        return steadiness(task, summaries["lstm"], summaries["h_detach"])
    if "scornn" not in summaries:
        return []
    median = summaries["scornn"].median
    remembers = Check(
        "the median cross-entropy of scoRNN is below that of keeping nothing",
        median < task.baseline,
        f"{median:.4f} against {task.baseline:.4f}",
    )
    if "enrnn" not in summaries:
        return [remembers]
    other = summaries["enrnn"].median
    return [
        remembers,
        Check(
            "that of ENRNN is below that of scoRNN",
            other < median,
            f"{other:.4f} against {median:.4f}",
        ),
    ]


def steadiness(task: Task, lstm: Summary, h_detach: Summary) -> Sequence[Check]:
    """Tests whether h-detach trains without the spikes of the LSTM."""
    # NaN is the worst of losses.
    spikes, calm = np.max(lstm.worst_loss), np.max(h_detach.worst_loss)
    longest, shorter = np.max(lstm.largest_norm), np.max(h_detach.largest_norm)
    return [
        Check(
            "after a third of the steps the loss of the LSTM passes three baselines",
            not spikes <= 3 * task.baseline,
            f"up to {spikes:.3g}, baseline {task.baseline:.3g}",
        ),
        Check(
            "that of h-detach stays below one and a half in every seed",
            bool(calm < 1.5 * task.baseline),
            f"up to {calm:.3g}",
        ),
        Check(
            "its longest gradient is at most a third of the LSTM's",
            bool(np.isfinite(shorter)) and not shorter > longest / 3,
            f"{shorter:.3g} against {longest:.3g}",
        ),
    ]


COPYING = Experiment(
    summary="repeat ten symbols after a pause of T steps",
    paper="Helfrich et al. 2018; Arjovsky et al. 2016",
    data="generated",
    duration="3 min",
    presets=PRESETS,
    task=copying_task,
    checks=copying_checks,
)
