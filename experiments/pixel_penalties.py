"""Logistic regression with a penalty for each weight."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.digit_classifier import (
    SMALL_IMAGES,
    Digits,
    Params,
    accuracy,
    cross_entropy,
    undecided,
)
from experiments.limits import Limited
from experiments.outer_loop import descend
from gradstab.reversible import Schedules, hypergradient, train

Penalties = Float[Array, "pixels digits"]


@dataclass(frozen=True)
class LearnPenaltiesSettings(Limited):
    """Learning a penalty for each weight of logistic regression.

    Attributes:
        data_dir: folder with MNIST's four files; the 8×8 digits of scikit-learn if
            None.
        train_images: how many images are trained on.
        validation_images: how many the penalties are learned from.
        steps: steps of a training, each on all its images.
        step_size: of every step.
        momentum: of every step.
        searched: penalties that are tried for all weights together.
        outer_steps: trainings that the penalties are learned from.
        outer_rate: of Adam, for logarithms of penalties.
        seeds: choices of the images each.
        figure: where the penalties are drawn, without the ending.
    """

    data_dir: Path | None = None
    train_images: int = 100
    validation_images: int = 500
    steps: int = 100
    step_size: float = 1.0
    momentum: float = 0.9
    searched: int = 30
    outer_steps: int = 100
    outer_rate: float = 0.1
    seeds: tuple[int, ...] = (0, 1, 2)
    figure: Path = Path("runs/learn_penalties")

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        counts = "train_images", "validation_images", "steps", "outer_steps"
        found = self.below(1, *counts) + self.below(2, "searched")
        needed = self.train_images + self.validation_images
        if self.data_dir is None and needed > SMALL_IMAGES:
            found.append(
                "--train-images and --validation-images must be at most "
                f"{SMALL_IMAGES:,} together."
            )
        found += self.not_positive("step_size", "outer_rate")
        return found + self.outside(0.01, {"momentum": 0.999}) + self.not_seeds("seeds")


class Scores(NamedTuple):
    """What a training with some penalties comes to, in nats.

    Attributes:
        train: loss on the images trained on.
        validation: on those that penalties are chosen by.
        test: on others.
        accuracy: on these.
    """

    train: float
    validation: float
    test: float
    accuracy: float


class Regression:
    """Logistic regression from weights of 0, with a penalty for each weight.

    Args:
        settings: see the class.
        parts: images to train on, to validate with and to test on.
    """

    def __init__(
        self, settings: LearnPenaltiesSettings, parts: tuple[Digits, Digits, Digits]
    ):
        self.settings = settings
        self.parts = parts
        self.start = undecided(parts[0].images.shape[1])
        self.rates = Schedules(settings.step_size, settings.momentum)

    def loss(self, params: Params, logs: Penalties, step: Int[Array, ""]) -> Array:
        """Returns the loss on the images trained on, with the penalty."""
        del step
        squares = jnp.exp(logs) * params["layer 1"]["kernel"] ** 2
        return cross_entropy(params, self.parts[0]) + jnp.sum(squares) / 2

    def validation(self, params: Params, logs: Penalties) -> Float[Array, ""]:
        """Returns the loss that penalties are chosen by."""
        del logs
        return cross_entropy(params, self.parts[1])

    def trained(self, logs: Penalties) -> Params:
        """Trains with some penalties, of which these are the logarithms."""
        return train(self.loss, self.start, self.rates, logs, self.settings.steps)

    def scores(self, logs: Penalties) -> Scores:
        """Trains with some penalties and measures."""
        params = self.trained(logs)
        chosen, kept, test = (float(cross_entropy(params, part)) for part in self.parts)
        share = float(accuracy(params, self.parts[2]))
        return Scores(chosen, kept, test, share)

    def search(self) -> Penalties:
        """Finds the best penalty for all weights; returns its logarithm for each."""
        shape = self.start["layer 1"]["kernel"].shape

        @jax.jit
        @jax.vmap
        def validated(log: Array) -> Array:
            logs = jnp.full(shape, log)
            return self.validation(self.trained(logs), logs)

        logs = jnp.linspace(np.log(1e-5), np.log(1.0), self.settings.searched)
        return jnp.full(shape, logs[jnp.nanargmin(validated(logs))])

    def learn(self, logs: Penalties) -> tuple[Penalties, Float[np.ndarray, " outer"]]:
        """Learns penalties from where a search has ended."""

        def slope(logs: Penalties, _: int) -> tuple[Array, Penalties]:
            steps = self.settings.steps
            found = hypergradient(
                self.validation, self.loss, self.start, self.rates, logs, steps
            )
            return found.value, found.theta

        trainings = range(self.settings.outer_steps)
        descent = descend(slope, logs, self.settings.outer_rate, trainings)
        return descent.path[-1], descent.losses
