"""Digits read pixel by pixel, for constrained and unconstrained recurrences.

The papers read MNIST, 784 pixels a digit (Helfrich, Willmott & Ye, ICML 2018,
arXiv:1707.09520; Zhang, Lei & Dhillon, ICML 2018, arXiv:1803.09327). These are the
1,797 digits of 8×8 pixels that come with scikit-learn, so that nothing is downloaded:
their accuracy cannot be compared with that of the papers.

The preset `paper` has the hidden size, the 17 entries -1, the batches of 50, the rates
and the 70 passes of scoRNN on MNIST, with Adam for the weights where they used RMSprop;
Spectral-RNN has the 16 reflectors and the radius of its authors' code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from experiments.data import load_digits
from experiments.experiment import Experiment
from experiments.settings import Preset, TrainingSettings
from experiments.task import Task
from experiments.ten_digits import TEN_DIGITS, constrained_read_better

PAPER_PIXELS = 70 * 60_000 * 784


@dataclass(frozen=True)
class PixelDigitsSettings(TrainingSettings):
    """Settings of the digits.

    Attributes:
        split_seed: seed of the split in training and test images.
    """

    steps: int = 2000
    negatives: int = 3
    split_seed: int = 0

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        return super().problems() + self.below(0, "split_seed")


PRESETS: Mapping[Preset, PixelDigitsSettings] = {
    "quick": PixelDigitsSettings(),
    "paper": PixelDigitsSettings(
        preset="paper",
        hidden=170,
        negatives=17,
        reflectors=16,
        batch=50,
        steps=1508,  # 70 passes over 1,077 images
    ),
}


def pixel_digits_task(settings: PixelDigitsSettings) -> Task:
    """Makes the task; a batch is drawn with replacement."""
    digits = load_digits(settings.split_seed)

    def draw(key, train):
        inputs, targets = train
        chosen = jax.random.randint(key, (settings.batch,), 0, len(targets))
        return inputs[chosen], targets[chosen]

    share = settings.steps * settings.batch * 64 / PAPER_PIXELS
    return Task(
        name="pixel_digits",
        title="Digits, a pixel a step, T = 64",
        in_features=1,
        train=jax.tree.map(jnp.asarray, digits.train),
        draw=draw,
        validation=jax.tree.map(jnp.asarray, digits.validation),
        test=jax.tree.map(jnp.asarray, digits.test),
        **TEN_DIGITS,
        budget=f"{100 * share:.3g}% of the pixels of 70 passes over MNIST, with "
        f"{settings.hidden} of its 170 hidden units",
    )


PIXEL_DIGITS = Experiment(
    summary="name a digit after reading it pixel by pixel",
    paper="Helfrich et al. 2018; Zhang et al. 2018",
    data="scikit-learn",
    duration="1 min",
    presets=PRESETS,
    task=pixel_digits_task,
    checks=constrained_read_better,
)
