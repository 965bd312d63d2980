"""Ten images that teach what a thousand do: `python -m experiments distill_data`.

Maclaurin, Duvenaud & Adams ("Gradient-based hyperparameter optimization through
reversible learning", ICML 2015, arXiv:1502.03492, section 3.3 and figure 7) learn the
training data themselves: an image for each digit, from blank, such that logistic
regression trained on these ten has a low loss on all real ones.

Trained for 50 steps on ten images of 8×8 pixels, learned in 300 trainings, it comes to
a loss of 0.084 on 1,077 real digits and reads 0.961 of 360 others. From the means of
the digits it comes to 0.290 and 0.917, from ten real ones to 1.26 and 0.657, in the
best of 50 draws to 0.82 and 0.767. The images look like what they stand for, with dark
rims. On MNIST ten images come to 0.30 and 0.908, means to 0.64 and 0.809.

What differs: the images (`--data-dir` for MNIST), and that the trained weights are
compared with means and draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.digit_classifier import (
    DIGITS,
    Digits,
    Params,
    accuracy,
    cross_entropy,
    load,
    undecided,
)
from experiments.experiment import Check
from experiments.figure import STYLE, save
from experiments.limits import Limited
from experiments.outer_loop import descend
from experiments.table import print_table
from gradstab.reversible import Schedules, hypergradient, train

Images = Float[Array, "digits pixels"]


@dataclass(frozen=True)
class DistillDataSettings(Limited):
    """Learning a training image for each digit.

    Attributes:
        data_dir: folder with MNIST's four files; the 8×8 digits of scikit-learn if
            None.
        train_images: how many real images the loss is taken on, at most.
        steps: steps of a training.
        step_size: of every step.
        momentum: of every step.
        outer_steps: trainings that the images are learned from.
        outer_rate: of Adam, for pixels.
        drawn: how many sets of ten real images are tried instead.
        figure: where the images are drawn, without the ending.
    """

    data_dir: Path | None = None
    train_images: int = 10_000
    steps: int = 50
    step_size: float = 1.0
    momentum: float = 0.9
    outer_steps: int = 300
    outer_rate: float = 0.05
    drawn: int = 50
    figure: Path = Path("runs/distill_data")

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "steps", "outer_steps", "drawn")
        found += self.below(DIGITS, "train_images")
        found += self.not_positive("step_size", "outer_rate")
        return found + self.outside(0.01, {"momentum": 0.999})


class Taught(NamedTuple):
    """What logistic regression comes to after ten images.

    Attributes:
        loss: on the real images that the ten stand for, in nats.
        accuracy: on real images that nothing was learned from.
    """

    loss: float
    accuracy: float


class Teacher:
    """Trains logistic regression, from weights of 0, on an image for each digit.

    Args:
        settings: see the class.
        digits: the real images.
        others: images to test on.
    """

    def __init__(self, settings: DistillDataSettings, digits: Digits, others: Digits):
        self.settings = settings
        self.digits = digits
        self.others = others
        self.start = undecided(digits.images.shape[1])
        self.rates = Schedules(settings.step_size, settings.momentum)

    def lesson(self, params: Params, images: Images, step: Int[Array, ""]) -> Array:
        """Returns the loss on the ten images."""
        del step
        return cross_entropy(params, Digits(images, jnp.arange(DIGITS)))

    def exam(self, params: Params, images: Images) -> Float[Array, ""]:
        """Returns the loss on real images."""
        del images
        return cross_entropy(params, self.digits)

    def taught(self, images: Images) -> Taught:
        """Trains on ten images."""
        steps = self.settings.steps
        trained = train(self.lesson, self.start, self.rates, images, steps)
        return Taught(
            float(self.exam(trained, images)), float(accuracy(trained, self.others))
        )

    def learn(self) -> tuple[Images, Float[np.ndarray, " outer"]]:
        """Learns the ten images, from blank ones; returns the losses on the way too."""

        def slope(images: Images, _: int) -> tuple[Array, Images]:
            steps = self.settings.steps
            found = hypergradient(
                self.exam, self.lesson, self.start, self.rates, images, steps
            )
            return found.value, found.theta

        blank = jnp.zeros((DIGITS, self.digits.images.shape[1]))
        trainings = range(self.settings.outer_steps)
        descent = descend(slope, blank, self.settings.outer_rate, trainings)
        return descent.path[-1], descent.losses


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        images: that were learned.
        losses: on the way there.
        taught: by the images learned, and by others.
    """

    images: Images
    losses: Float[np.ndarray, " outer"]
    taught: Mapping[str, Taught]


def run_distill_data(settings: DistillDataSettings) -> Outcome:
    """Learns the images; prints the table and the claims, and draws them.

    Args:
        settings: they have no problems.

    Returns:
        What came of it.
    """
    teacher = Teacher(settings, *load(settings.data_dir, settings.train_images))
    images, losses = teacher.learn()
    drawn = [teacher.taught(one) for one in draws(teacher.digits, settings.drawn)]
    found = Outcome(
        images,
        losses,
        {
            "learned": teacher.taught(images),
            "means of the digits": teacher.taught(means(teacher.digits)),
            "the best drawn": min(drawn),
            "the median drawn": Taught(*np.median(np.asarray(drawn), axis=0)),
        },
    )
    print(
        f"Logistic regression, {settings.steps} steps on ten images: loss on "
        f"{len(teacher.digits.labels):,} real ones, in nats, and accuracy on "
        f"{len(teacher.others.labels):,} others"
    )
    print_table(
        ("ten images", "loss", "test accuracy"),
        [
            (name, f"{one.loss:.3f}", f"{one.accuracy:.3f}")
            for name, one in found.taught.items()
        ],
    )
    for check in distill_data_checks(found.taught):
        print(check)
    settings.figure.parent.mkdir(parents=True, exist_ok=True)
    print("drawn:", *draw(found, settings))
    return found


def means(digits: Digits) -> Images:
    """Returns the mean image of each digit."""
    return jnp.stack([
        jnp.mean(digits.images[digits.labels == k], axis=0) for k in range(DIGITS)
    ])


def draws(digits: Digits, count: int) -> list[Images]:
    """Draws sets of real images, one of each digit."""
    rng, labels = np.random.default_rng(0), np.asarray(digits.labels)
    places = [np.flatnonzero(labels == k) for k in range(DIGITS)]
    return [
        digits.images[np.asarray([rng.choice(place) for place in places])]
        for _ in range(count)
    ]


def distill_data_checks(taught: Mapping[str, Taught]) -> Sequence[Check]:
    """Tests that learned images teach more than real ones."""
    learned = taught["learned"]
    rest = {name: one for name, one in taught.items() if name != "learned"}
    best = min(one.loss for one in rest.values())
    most = max(one.accuracy for one in rest.values())
    return [
        Check(
            "ten learned images teach real digits at a lower loss than means and draws",
            learned.loss < best,
            f"{learned.loss:.3f} against {best:.3f}",
        ),
        Check(
            "and at a higher accuracy on digits that nothing was learned from",
            learned.accuracy > most,
            f"{learned.accuracy:.3f} against {most:.3f}",
        ),
    ]


def draw(found: Outcome, settings: DistillDataSettings) -> list[Path]:
    """Draws the images, and how they were learned.

    Args:
        found: what came of it.
        settings: see the class.

    Returns:
        The files written.
    """
    side = round(found.images.shape[1] ** 0.5)
    top = float(np.max(np.abs(found.images)))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.6), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        halves: Any = figure.subfigures(1, 2, width_ratios=(3, 2))
        left, right = halves
        panels = left.subplots(2, 5)
        shown = [
            panel.imshow(
                np.asarray(image).reshape(side, side),
                cmap="RdBu_r",
                vmin=-top,
                vmax=top,
            )
            for image, panel in zip(found.images, panels.ravel(), strict=True)
        ]
        for digit, panel in enumerate(panels.ravel()):
            panel.set_title(str(digit))
            panel.axis("off")
        bar = left.colorbar(shown[0], ax=panels, shrink=0.8)
        bar.set_label("pixel (the ink is above 0)")
        curve = right.subplots()
        curve.plot(found.losses, color="#0072B2")
        looks = (("means of the digits", "--"), ("the best drawn", ":"))
        for name, style in looks:
            loss = found.taught[name].loss
            curve.axhline(loss, color="0.35", linestyle=style)
            place = curve.get_yaxis_transform()
            curve.text(1, loss, name, transform=place, ha="right", va="bottom")
        curve.set_yscale("log")
        curve.set_xlabel("training")
        curve.set_title("Loss on real digits (nats)", loc="left")
        return save(figure, settings.figure)
