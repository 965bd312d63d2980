"""MNIST read pixel by pixel or row by row, in order or permuted.

Sequential and permuted MNIST: Le, Jaitly & Hinton, arXiv:1504.00941; for scoRNN
Helfrich, Willmott & Ye, ICML 2018, arXiv:1707.09520, whose setting with 170 hidden
units, 17 entries -1, batches of 50, RMSprop at 1e-3 and at 1e-4 for the coordinates and
70 passes is the preset `paper`. Spectral-RNN (Zhang, Lei & Dhillon, ICML 2018,
arXiv:1803.09327) has 16 reflectors on a side and the radius 0.01 of its authors' code.

What differs: batches are drawn with replacement, 5,000 images are set apart to validate
on, and every method starts from the same answer. `quick` has a part of the images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import BatchStream, LabeledImages, load_mnist, open_mnist
from experiments.experiment import Experiment
from experiments.settings import OptimizerName, Preset, TrainingSettings
from experiments.task import Batch, Task
from experiments.ten_digits import TEN_DIGITS, constrained_read_better

IMAGES, PIXELS = 55_000, 784
PAPER_PIXELS = 70 * IMAGES * PIXELS


@dataclass(frozen=True)
class PixelMnistSettings(TrainingSettings):
    """Settings of MNIST.

    Attributes:
        read: what is read at each time step.
        permuted: whether the pixels of every image are read in one random order.
        permutation_seed: seed of that order, which is noted in `run.json`.
        stream: whether training images are read from disk, in shuffled passes, not
            drawn from memory.
        train_images: how many of the 55,000 training images are drawn from, the first.
        validation_images: how many of the 5,000 validation images are used, the first.
        test_images: how many of the 10,000 test images are used, the first.
    """

    needs: ClassVar[Mapping[str, str]] = {"permutation_seed": "permuted"}

    hidden: int = 64
    reflectors: int = 16
    negatives: int = 6
    optimizer: OptimizerName = "rmsprop"
    steps: int = 1500
    evaluate_every: int = 150
    seeds: tuple[int, ...] = (0,)
    read: Literal["pixels", "rows"] = "pixels"
    permuted: bool = False
    permutation_seed: int = 92916
    stream: bool = False
    train_images: int = 10_000
    validation_images: int = 1000
    test_images: int = 10_000

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        limits = {"train_images": IMAGES, "validation_images": 5000}
        found = self.outside(1, limits | {"test_images": 10_000})
        return super().problems() + found + self.below(0, "permutation_seed")


PRESETS: Mapping[Preset, PixelMnistSettings] = {
    "quick": PixelMnistSettings(),
    "paper": PixelMnistSettings(
        preset="paper",
        hidden=170,
        negatives=17,
        batch=50,
        steps=77_000,  # 70 passes over 55,000 images
        evaluate_every=1100,
        seeds=(0, 1, 2),
        train_images=IMAGES,
        validation_images=5000,
    ),
}


def pixel_mnist_task(settings: PixelMnistSettings) -> Task:
    """Makes the task."""
    order = np.arange(PIXELS)
    if settings.permuted:
        order = np.random.default_rng(settings.permutation_seed).permutation(PIXELS)
    features = 1 if settings.read == "pixels" else 28

    def first(part: LabeledImages, count: int) -> tuple:
        # Put in order once: doing so in each batch took a third of a training step.
        pixels = part.images[:count].reshape(-1, PIXELS)[:, order]
        return jnp.asarray(pixels), jnp.asarray(part.labels[:count])

    def sequences(pixels, labels) -> Batch:
        values = pixels.astype(jnp.float32) / 255
        return values.reshape(len(labels), -1, features), labels

    def draw(key, train) -> Batch:
        images, labels = train
        chosen = jax.random.randint(key, (settings.batch,), 0, len(labels))
        return sequences(images[chosen], labels[chosen])

    def stream(seed: int) -> BatchStream:
        def convert(example) -> tuple:
            pixels = example["image"].reshape(PIXELS)[order].astype(np.float32) / 255
            return pixels.reshape(-1, features), np.int32(example["label"])

        return BatchStream(
            open_mnist(settings.data_dir)["train"],
            count=settings.train_images,
            batch=settings.batch,
            seed=seed,
            convert=convert,
        )

    splits = load_mnist(settings.data_dir)
    read = settings.steps * settings.batch * PIXELS
    return Task(
        name="pixel_mnist",
        title=f"{'permuted ' * settings.permuted}MNIST, T = {PIXELS // features}",
        in_features=features,
        train=first(splits.train, settings.train_images),
        draw=draw,
        stream=stream if settings.stream else None,
        validation=sequences(*first(splits.validation, settings.validation_images)),
        test=sequences(*first(splits.test, settings.test_images)),
        **TEN_DIGITS,
        budget=f"{100 * read / PAPER_PIXELS:.3g}% of its 70 passes, drawn from "
        f"{settings.train_images:,} images, with {settings.hidden} of its 170 units",
        noted={"order_of_pixels": order.tolist()} if settings.permuted else {},
    )


PIXEL_MNIST = Experiment(
    summary="name a digit of MNIST after reading it pixel by pixel",
    paper="Helfrich et al. 2018; Zhang et al. 2018",
    data="MNIST",
    duration="8 min",
    presets=PRESETS,
    task=pixel_mnist_task,
    reads_files=True,
    checks=constrained_read_better,
    published={"scornn": 0.972, "spectral_rnn": 0.977},
    published_for=("read", "permuted"),
)
