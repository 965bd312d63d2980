"""Trainings on digits that are themselves learned, each from another start."""

from dataclasses import dataclass
from pathlib import Path

import jax
from jaxtyping import Array, Float

from experiments.digit_classifier import (
    DIGITS,
    SMALL_IMAGES,
    Digits,
    Params,
    cross_entropy,
    draw,
    minibatch_loss,
)
from experiments.limits import Limited
from gradstab.reversible import Schedules, train

# Okabe and Ito's colors, from the first layer to the last.
LAYER_COLORS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7")


@dataclass(frozen=True)
class DigitTrainingsSettings(Limited):
    """Trainings that something is learned from.

    Attributes:
        data_dir: folder with MNIST's four files; the 8×8 digits of scikit-learn if
            None.
        train_images: how many images there are to train on, at most.
        hidden: units of each hidden layer.
        steps: steps of a training.
        batch: images in a step.
        starts: trainings by which anything is judged.
        outer_steps: trainings that are learned from, each of other initial parameters
            and another order of the images.
        outer_rate: of Adam.
        seeds: learning repeated with other trainings.
    """

    data_dir: Path | None = None
    train_images: int = 10_000
    hidden: tuple[int, ...] = (50, 50, 50)
    steps: int = 100
    batch: int = 20
    starts: int = 8
    outer_steps: int = 200
    outer_rate: float = 0.02
    seeds: tuple[int, ...] = (0, 1)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        counts = "train_images", "steps", "batch", "starts", "outer_steps"
        found = self.below(1, *counts) + self.not_positive("outer_rate")
        there = SMALL_IMAGES if self.data_dir is None else self.train_images
        if self.batch > min(there, self.train_images):
            found.append(
                f"--batch must be at most --train-images, and the {there:,} that "
                "there are."
            )
        if not (1 <= len(self.hidden) < len(LAYER_COLORS) and min(self.hidden) >= 1):
            found.append("--hidden must be one to five numbers of at least 1.")
        return found + self.not_seeds("seeds")


class Trainings:
    """Trainings that begin with other parameters and other orders of the images.

    Args:
        settings: see the class.
        digits: to train on.
    """

    def __init__(self, settings: DigitTrainingsSettings, digits: Digits):
        self.digits = digits
        self.sizes = (digits.images.shape[1], *settings.hidden, DIGITS)
        self.steps = settings.steps
        self._loss = minibatch_loss(settings.batch)
        self._start = jax.jit(self._draw)

    def start(self, key: Array) -> tuple[Params, Digits]:
        """Draws initial parameters, and puts the images in an order."""
        return self._start(key)

    def train(self, schedules: Schedules, params: Params, ordered: Digits) -> Params:
        """Returns the trained parameters."""
        return train(self._loss, params, schedules, ordered, self.steps)

    def final(
        self, schedules: Schedules, params: Params, ordered: Digits
    ) -> Float[Array, ""]:
        """Returns the loss on all images after the last step, in nats."""
        return cross_entropy(self.train(schedules, params, ordered), ordered)

    def _draw(self, key: Array) -> tuple[Params, Digits]:
        by_params, by_order = jax.random.split(key)
        order = jax.random.permutation(by_order, len(self.digits.labels))
        ordered = Digits(self.digits.images[order], self.digits.labels[order])
        return draw(self.sizes, by_params), ordered
