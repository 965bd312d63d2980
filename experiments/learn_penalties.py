"""A penalty for each pixel of each digit: `python -m experiments learn_penalties`.

Maclaurin, Duvenaud & Adams ("Gradient-based hyperparameter optimization through
reversible learning", ICML 2015, arXiv:1502.03492, section 3.2 and figure 6) give every
weight of logistic regression an L2 penalty of its own, 7,840 on MNIST, and learn all of
them by hypergradients of the loss on images not trained on.

Trained on 100 digits of 8×8 pixels, 640 penalties learned from 500 others lower the
loss on these from 0.447, that of the best penalty for all, to 0.153, and on 360 that
nothing was learned from, from 0.367 to 0.198, at accuracies of 0.903 and 0.942. One
penalty for all gains next to nothing. But penalties are a roundabout way to learn from
500 digits: trained on them directly, the same regression comes to 0.158 and 0.958. On
MNIST 7,840 penalties lower the test loss from 0.88 to 0.55 and raise the accuracy from
0.71 to 0.83; trained directly it comes to 0.49 and 0.85.

What differs: the images (`--data-dir` for MNIST), and a learning that begins at the
best penalty for all.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.digit_classifier import DIGITS, Digits, load
from experiments.experiment import Check
from experiments.figure import STYLE, save
from experiments.pixel_penalties import (
    LearnPenaltiesSettings,
    Penalties,
    Regression,
    Scores,
)
from experiments.table import print_table, spread


class Outcome(NamedTuple):
    """What came of one choice of images.

    Attributes:
        penalties: that were learned.
        losses: on the validation images on the way there.
        scores: without penalties, with the best of one for all, and with those learned.
        together: with the best of one for all, trained on the validation images too.
    """

    penalties: Penalties
    losses: Float[np.ndarray, " outer"]
    scores: Mapping[str, Scores]
    together: Scores


WAYS: tuple[str, ...] = "no penalty", "one for all", "one for each weight"


def run_learn_penalties(settings: LearnPenaltiesSettings) -> Sequence[Outcome]:
    """Searches and learns; prints the table and the claims, and draws the penalties.

    Args:
        settings: they have no problems.

    Returns:
        What came of each choice of images.
    """
    needed = settings.train_images + settings.validation_images
    digits, test = load(settings.data_dir, needed)
    found = [outcome(settings, digits, test, seed) for seed in settings.seeds]
    pixels = digits.images.shape[1]
    print(
        f"Logistic regression on {settings.train_images} digits of {pixels} pixels, "
        f"{settings.steps} steps: losses in nats, median (lowest .. highest) of "
        f"{len(found)} choices of the images"
    )
    print_table(
        ("penalty", "of its own", "training", "validation", "test", "test accuracy"),
        [
            (
                way,
                count,
                *(
                    spread(column)
                    for column in zip(*(one.scores[way] for one in found), strict=True)
                ),
            )
            for way, count in zip(WAYS, ("0", "1", f"{pixels * DIGITS:,}"), strict=True)
        ],
    )
    print(
        "Trained on the validation images too, with one penalty for all: test loss "
        f"{spread(one.together.test for one in found)}, accuracy "
        f"{spread(one.together.accuracy for one in found)}"
    )
    for check in learn_penalties_checks(found):
        print(check)
    settings.figure.parent.mkdir(parents=True, exist_ok=True)
    print("drawn:", *draw(found[0], settings))
    return found


def outcome(
    settings: LearnPenaltiesSettings, digits: Digits, test: Digits, seed: int
) -> Outcome:
    """Finds penalties for a choice of images.

    Args:
        settings: see the class.
        digits: to train on and to validate with.
        test: to test on.
        seed: of the choice.

    Returns:
        What came of it.
    """
    order = np.random.default_rng(seed).permutation(len(digits.labels))
    cut = order[: settings.train_images], order[settings.train_images :]
    chosen, kept = (Digits(*(part[rows] for part in digits)) for rows in cut)
    regression = Regression(settings, (chosen, kept, test))
    common = regression.search()
    learned, losses = regression.learn(common)
    none = jnp.full_like(common, -jnp.inf)
    scores = map(regression.scores, (none, common, learned))
    both = Regression(settings, (digits, kept, test)).scores(common)
    return Outcome(learned, losses, dict(zip(WAYS, scores, strict=True)), both)


def learn_penalties_checks(found: Sequence[Outcome]) -> Sequence[Check]:
    """Tests that many penalties do better than one."""
    common, learned = (
        [Scores(*map(float, one.scores[way])) for one in found] for way in WAYS[1:]
    )
    gains = [a.validation - b.validation for a, b in zip(common, learned, strict=True)]
    carried = [a.test - b.test for a, b in zip(common, learned, strict=True)]
    return [
        Check(
            "a penalty for each weight lowers the validation loss below the best one "
            "for all, for every choice",
            min(gains) > 0,
            f"by {spread(gains)}",
        ),
        Check(
            "and the loss on images that neither was learned from",
            min(carried) > 0,
            f"by {spread(carried)}",
        ),
    ]


def draw(one: Outcome, settings: LearnPenaltiesSettings) -> list[Path]:
    """Draws the penalties of each digit's pixels.

    Args:
        one: what came of a choice of images.
        settings: see the class.

    Returns:
        The files written.
    """
    logs = np.asarray(one.penalties) / np.log(10)
    side = round(len(logs) ** 0.5)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.8), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, 5)
        shown = [
            panel.imshow(column.reshape(side, side), vmin=logs.min(), vmax=logs.max())
            for column, panel in zip(logs.T, panels.ravel(), strict=True)
        ]
        for digit, panel in enumerate(panels.ravel()):
            panel.set_title(str(digit))
            panel.axis("off")
        bar = figure.colorbar(shown[0], ax=panels)
        bar.set_label(r"$\log_{10}$ of the penalty")
        return save(figure, settings.figure)
