"""Step sizes and momenta learned for every step of every layer: `... learn_schedule`.

Maclaurin, Duvenaud & Adams ("Gradient-based hyperparameter optimization through
reversible learning", ICML 2015, arXiv:1502.03492, section 3.1 and figures 2 to 4) learn
a schedule for each layer of a network that reads MNIST in 100 steps, by hypergradients
of the loss on the training images. They see steps that are largest at the top, and all
layers annealed in the last ten.

Here three hidden layers of 50 tanh units read 8×8 digits in 100 steps of 20, twice over
the images, as theirs do. Each training that is learned from has other initial
parameters and another order of the images; what is learned is judged on eight more. The
best constant rates of 2,048 trainings (0.39 and 0.789) come to a median loss of 0.126
nats and an accuracy of 0.933 on other digits; schedules learned from 200 trainings,
there and back, to 0.065 and 0.066, 0.957 and 0.962. Steps fall from the 60th on, those
of the last three to a quarter of the middle in the first layer and to 0.43 in the last,
where they are largest throughout; momenta fall at the end too. On MNIST, 2,000 images
read once, constant rates come to 0.43 and 0.86, schedules to 0.36, 0.35 and 0.89, and
all layers are annealed to less than a third.

Learned from a single start and order (an earlier form of this experiment) the loss
there falls further, from 0.072 to 0.014, but from another start it was 0.22, worse than
that of constant rates, and the schedules were noise.

What differs: the images (`--data-dir` for MNIST), kernels that start at variance
1 / fan-in, a beginning near the best constant rates, and smaller outer steps: theirs
are twice as long, from a step size of 0.37 and a momentum of 0.5.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.digit_classifier import Digits, accuracy, cross_entropy, load
from experiments.digit_trainings import LAYER_COLORS, Trainings
from experiments.experiment import Check
from experiments.figure import STYLE, save
from experiments.learned_schedule import LearnScheduleSettings, learn, search
from experiments.table import print_table, spread
from gradstab.reversible import ExactRational, Schedules

LAST = 3  # steps that are the end of a schedule, of 100


class Judged(NamedTuple):
    """Rates, and what trainings by them come to.

    Attributes:
        schedules: the rates.
        losses: on all images at the end, from each start.
        accuracies: on images not trained on.
    """

    schedules: Schedules
    losses: Float[np.ndarray, " starts"]
    accuracies: Float[np.ndarray, " starts"]


class Outcome(NamedTuple):
    """What came of it all.

    Attributes:
        constant: the best constant rates.
        learned: the schedules learned, for each seed.
        curves: the final losses on the way there.
    """

    constant: Judged
    learned: Sequence[Judged]
    curves: Float[np.ndarray, "seeds outer"]


def run_learn_schedule(settings: LearnScheduleSettings) -> Outcome:
    """Searches and learns; prints the tables and the claims, and draws the figure.

    Args:
        settings: they have no problems.

    Returns:
        What came of it.
    """
    digits, others = load(settings.data_dir, settings.train_images)
    trainings = Trainings(settings, digits)
    by_search, by_judge = jax.random.split(jax.random.key(0))
    fresh = jax.random.split(by_judge, settings.starts)
    constant = search(settings, trainings, by_search)
    keys = [jax.random.key(1 + seed) for seed in settings.seeds]
    learned = [learn(settings, trainings, constant, key) for key in keys]
    found = Outcome(
        judged(trainings, constant, others, fresh),
        [judged(trainings, one.schedules, others, fresh) for one in learned],
        np.stack([one.losses for one in learned]),
    )
    tried = 2 * settings.searched[0] * settings.searched[1] * settings.starts
    print(
        f"{len(digits.labels):,} digits, {settings.steps} steps of {settings.batch}: "
        "loss on all of them after the last step, in nats, and accuracy on others; "
        f"median (lowest .. highest) of {settings.starts} other starts"
    )
    print_table(
        ("rates", "trainings", "loss", "test accuracy"),
        [
            _row("constant, the best", tried, found.constant),
            *(
                _row(f"learned, seed {seed}", settings.outer_steps, one)
                for seed, one in zip(settings.seeds, found.learned, strict=True)
            ),
        ],
    )
    size, momentum = found.constant.schedules
    print(f"The best constant step size is {size:.2f}, the momentum {momentum:.3f}.")
    print("Step sizes of kernels, geometric means")
    print_table(
        ("layer", "first tenth", "middle", "last tenth", "last steps"),
        [
            (
                name,
                *(
                    spread(part, ".2f")
                    for part in zip(
                        *(profile(one, name) for one in found.learned), strict=True
                    )
                ),
            )
            for name in found.learned[0].schedules.step_size
        ],
    )
    forgotten = np.mean([bits(one.schedules) for one in found.learned])
    print(
        f"Products by the momenta forget {forgotten:.2f} bits a parameter and step, "
        "where x and v would take 64."
    )
    for check in learn_schedule_checks(found):
        print(check)
    settings.figure.parent.mkdir(parents=True, exist_ok=True)
    print("drawn:", *draw(found, settings))
    return found


def judged(
    trainings: Trainings, schedules: Schedules, others: Digits, keys: Array
) -> Judged:
    """Trains by some rates from some starts.

    Args:
        trainings: what the rates are for.
        schedules: the rates.
        others: images to test on.
        keys: of the starts.

    Returns:
        What it comes to.
    """

    @jax.jit
    def one(key: Array) -> tuple[Array, Array]:
        params, ordered = trainings.start(key)
        trained = trainings.train(schedules, params, ordered)
        return cross_entropy(trained, ordered), accuracy(trained, others)

    ends = [one(key) for key in keys]
    return Judged(schedules, *np.asarray(ends).T)


def learn_schedule_checks(found: Outcome) -> Sequence[Check]:
    """Tests that schedules help, and that they end in small steps."""
    by_constant = np.median(found.constant.losses)
    shares = [np.median(one.losses) / by_constant for one in found.learned]
    falls = [
        last / middle
        for one in found.learned
        for name in one.schedules.step_size
        for _, middle, _, last in [profile(one, name)]
    ]
    return [
        Check(
            "from other starts, learned schedules end at a lower median loss than the "
            "best constant rates",
            max(shares) < 1,
            " ".join(f"{share:.2f}" for share in shares) + " of it",
        ),
        Check(
            "every layer's last steps are below two thirds of those of the middle",
            max(falls) < 2 / 3,
            f"{spread(falls, '.2f')} of them",
        ),
    ]


def profile(one: Judged, layer: str) -> Float[np.ndarray, " stages"]:
    """Returns step sizes of a kernel: first tenth, middle, last tenth, last steps."""
    logs = np.log(np.asarray(one.schedules.step_size[layer]["kernel"]))
    tenth, last = max(1, len(logs) // 10), max(1, LAST * len(logs) // 100)
    parts = logs[:tenth], logs[tenth:-tenth], logs[-tenth:], logs[-last:]
    return np.exp([np.mean(part) for part in parts])


def bits(schedules: Schedules) -> float:
    """Returns what a product by the momentum forgets, in bits, on average."""
    momenta = jnp.stack(jax.tree.leaves(schedules.momentum))
    return float(jnp.mean(ExactRational.nearest(momenta).bits))


def draw(found: Outcome, settings: LearnScheduleSettings) -> list[Path]:
    """Draws the schedules of the first seed, and how all were learned.

    Args:
        found: what came of it.
        settings: see the class.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.0), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        left, middle, right = figure.subplots(1, 3)
        constant = found.constant.schedules
        for panel, rates, value in zip(
            (left, middle), found.learned[0].schedules, constant, strict=True
        ):
            for color, (name, layer) in zip(LAYER_COLORS, rates.items(), strict=False):
                panel.plot(np.asarray(layer["kernel"]), color=color, label=name)
            panel.axhline(value, color="0.35", linestyle=":")
            panel.set_xlabel("step of the training")
        left.set_yscale("log")
        left.set_title("Step sizes of kernels", loc="left")
        middle.set_title("Momenta of kernels", loc="left")
        middle.set_ylim(0, 1)
        shades = np.linspace(0, 0.6, len(found.curves))
        for shade, curve in zip(shades, found.curves, strict=True):
            right.plot(curve, color=str(shade), linewidth=1.1)
        right.axhline(np.median(found.constant.losses), color="0.35", linestyle=":")
        right.set_yscale("log")
        right.set_xlabel("training")
        right.set_title("Loss at its end (nats)", loc="left")
        figure.legend(
            *left.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=len(LAYER_COLORS),
            frameon=False,
            title="dotted: the best constant rates",
            title_fontsize=8,
        )
        return save(figure, settings.figure)


def _row(name: str, trainings: int, one: Judged) -> tuple[str, ...]:
    return name, f"{trainings:,}", spread(one.losses, ".4f"), spread(one.accuracies)
