"""Text of a toy at a high learning rate: who diverges without clipping.

The spectrally constrained GRU (Kanai, Fujiwara & Iwamura, "Preventing Gradient
Explosions in Gated Recurrent Units", NeurIPS 2017) was compared by how often training
succeeds, on the Penn Treebank and on polyphonic music; `word_ptb` and `polyphonic` have
those. This is the same question in a minute: the next symbol of a Markov chain of order
two, by gradient descent on the sum over 35 time steps, as theirs. The unprojected GRU
is the same cell without the projection; neither it nor the read-out has a bias. A run
has diverged when it ends worse than it began.

What came out, for seeds 0, 1 and 2 at the rate of 0.47: GRU and unprojected GRU diverge
in all three, the spectral GRU and a GRU with gradients clipped at 5 in none; their test
perplexities are 7.63 and 5.62.

The rate is chosen for the claim, and the window is narrow: at 0.44 the unprojected GRU
diverges in half of the seeds, at 0.5 the spectral GRU too, since the read-out becomes
unstable by itself. At the rates where both train, the unprojected one is ahead, and so
is a GRU with clipped gradients: `python -m experiments grid markov_text --rates 0.1 0.2
0.3 0.4 0.47` takes six minutes and has every method at each rate and at its best one,
which is 0.1 for all: clipped GRU 4.87, unprojected GRU 5.11, GRU 5.12, spectral GRU
5.26.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import conditional_entropy, markov_chain, markov_text
from experiments.experiment import Check, Experiment
from experiments.settings import MethodName, OptimizerName, Preset
from experiments.summary import Summary
from experiments.task import Task
from experiments.text import TextSettings, sequences_of_text, unigram_entropy

CONCENTRATION = 0.15
KEYS = {"chain": 0, "train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True)
class MarkovTextSettings(TextSettings):
    """Settings of the toy text.

    Attributes:
        symbols: how many different ones there are.
        train_symbols: length of the text that training sequences are cut from.
    """

    methods: tuple[MethodName, ...] = (
        *("gru", "clipped_gru"),
        *("unprojected_gru", "spectral_gru"),
    )
    hidden: int = 64
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.47
    clip: float = 5.0
    batch: int = 20
    steps: int = 4000
    evaluate_every: int = 200
    keep_going: bool = True
    symbols: int = 16
    train_symbols: int = 500_000

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = super().problems() + self.below(2, "symbols")
        return found + self.below(self.length + 1, "train_symbols")


PRESETS: Mapping[Preset, MarkovTextSettings] = {"quick": MarkovTextSettings()}


def markov_text_task(settings: MarkovTextSettings) -> Task:
    """Makes the task."""
    keys = {name: jax.random.key(number) for name, number in KEYS.items()}
    chain = markov_chain(keys["chain"], settings.symbols, CONCENTRATION)
    train, validation, test = (
        markov_text(keys[part], chain, count)
        for part, count in (
            ("train", settings.train_symbols),
            ("validation", settings.validation_symbols),
            ("test", settings.test_symbols),
        )
    )
    best = np.exp(conditional_entropy(chain))
    return Task(
        name="markov_text",
        title=f"Markov text of {settings.symbols} symbols (perplexity {best:.2f} at "
        f"best), rate {settings.learning_rate:g}",
        in_features=settings.embedding,
        out_features=settings.symbols,
        tokens=settings.symbols,
        **sequences_of_text(train, validation, test, settings),
        biased=False,
        link=jnp.exp,
        score_label="perplexity",
        higher_is_better=False,
        log_scale=True,
        baseline=float(np.exp(unigram_entropy(train, test, settings.symbols))),
        baseline_label="knowing how frequent each symbol is",
        budget="none: its texts are those of `word_ptb` and `polyphonic`",
    )


def markov_text_checks(
    task: Task, summaries: Mapping[MethodName, Summary]
) -> Sequence[Check]:
    """Tests who diverges."""
    if not {"unprojected_gru", "spectral_gru"} <= set(summaries):
        return []
    plain, ours = summaries["unprojected_gru"], summaries["spectral_gru"]
    return [
        Check(
            "the unprojected GRU diverges in every seed",
            plain.diverged == len(plain.scores),
            f"{plain.diverged} of {len(plain.scores)}",
        ),
        Check(
            "the spectral GRU diverges in none",
            ours.diverged == 0,
            f"{ours.diverged} of {len(ours.scores)}",
        ),
    ]


MARKOV_TEXT = Experiment(
    summary="the next symbol of a toy text, at a rate where gradients explode",
    paper="Kanai et al. 2017",
    data="generated",
    duration="2 min",
    presets=PRESETS,
    task=markov_text_task,
    checks=markov_text_checks,
)
