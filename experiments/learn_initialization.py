"""How large weights should be drawn: `python -m experiments learn_initialization`.

Maclaurin, Duvenaud & Adams ("Gradient-based hyperparameter optimization through
reversible learning", ICML 2015, arXiv:1502.03492, section 3.1 and figure 4) learn the
standard deviations that the kernels and biases of each layer are drawn with, by
hypergradients of the loss after training, from exp(-3) for all. The kernel of the first
layer comes to 1 / √fan-in.

Here, on 8×8 digits and with the rates that are best for 1 / √fan-in, it passes 1 /
√fan-in after some 50 trainings, which is where the paper ends, and goes on: to 0.292
and 0.347 after 200, where 1 / √fan-in is 0.125, so that the claim is NOT met. The other
kernels come to between 0.17 and 0.27, biases stay small. The loss after training falls
from 0.458 to 0.133 and 0.118 from other draws; with 1 / √fan-in it is 0.143. On MNIST
the first kernel comes to 0.078 and 0.097, where 1 / √fan-in is 0.036.

What differs: the images (`--data-dir` for MNIST), constant rates, where the paper
learns schedules together with the scales, and the number of trainings.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.digit_classifier import Digits, Params, load
from experiments.digit_trainings import (
    LAYER_COLORS,
    DigitTrainingsSettings,
    Trainings,
)
from experiments.experiment import Check
from experiments.figure import STYLE, save
from experiments.outer_loop import descend
from experiments.table import print_table, spread
from gradstab.reversible import Schedules


@dataclass(frozen=True)
class LearnInitializationSettings(DigitTrainingsSettings):
    """Learning the scale of each layer's kernel and bias.

    Attributes:
        step_size: of every step.
        momentum: of every step.
        start: logarithm of all scales at first.
        outer_rate: of Adam, for logarithms of scales.
        figure: where the scales are drawn, without the ending.
    """

    step_size: float = 0.39
    momentum: float = 0.789
    start: float = -3.0
    outer_rate: float = 0.04
    figure: Path = Path("runs/learn_initialization")

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = super().problems() + self.not_positive("step_size")
        found += self.outside(0.01, {"momentum": 0.999})
        return found + self.outside(-10, {"start": 1})


Scales = dict[str, dict[str, Any]]


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        paths: scales on the way, of each layer's kernel and bias, for each seed.
        losses: the losses after training with the scales at first, with 1 / √fan-in and
            no biases, and with those learned for each seed, from each start.
    """

    paths: Sequence[Mapping[str, Mapping[str, Float[np.ndarray, " outer"]]]]
    losses: Mapping[str, Float[np.ndarray, " starts"]]


class Initialization:
    """Trainings from parameters that are drawn with some scales.

    Args:
        settings: see the class.
        digits: to train on.
    """

    def __init__(self, settings: LearnInitializationSettings, digits: Digits):
        self.settings = settings
        self.trainings = Trainings(settings, digits)
        self.rates = Schedules(settings.step_size, settings.momentum)
        self.noise = jax.jit(self._noise)

    def final(self, scales: Scales, noise: Params, ordered: Digits) -> Array:
        """Returns the loss after training, in nats."""
        params = jax.tree.map(lambda scale, draws: scale * draws, scales, noise)
        return self.trainings.final(self.rates, params, ordered)

    def judge(self, scales: Scales, keys: Array) -> Float[np.ndarray, " starts"]:
        """Returns the losses from some starts."""
        final = jax.jit(self.final)
        return np.asarray([final(scales, *self.noise(key)) for key in keys])

    def all_at(self, scale: float) -> Scales:
        """Returns one scale for everything."""
        return {
            f"layer {i + 1}": {"kernel": jnp.asarray(scale), "bias": jnp.asarray(scale)}
            for i in range(len(self.trainings.sizes) - 1)
        }

    def by_fan_in(self) -> Scales:
        """Returns the scales of `digit_classifier.draw`."""
        return {
            f"layer {i + 1}": {
                "kernel": jnp.asarray(1 / math.sqrt(fan_in)),
                "bias": jnp.zeros(()),
            }
            for i, fan_in in enumerate(self.trainings.sizes[:-1])
        }

    def learn(self, key: Array) -> list[Scales]:
        """Learns the scales; returns all on the way, those learned last."""
        logs = jax.tree.map(jnp.log, self.all_at(math.exp(self.settings.start)))

        def slope(logs: Scales, key: Array) -> tuple[Array, Scales]:
            noise = self.noise(key)
            final = jax.value_and_grad(
                lambda logs: self.final(jax.tree.map(jnp.exp, logs), *noise)
            )
            return final(logs)

        keys = jax.random.split(key, self.settings.outer_steps)
        path = descend(slope, logs, self.settings.outer_rate, keys).path
        return [jax.tree.map(jnp.exp, logs) for logs in path]

    def _noise(self, key: Array) -> tuple[Params, Digits]:
        params, ordered = self.trainings.start(key)
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
        noise = [
            jax.random.normal(key, leaf.shape)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, noise), ordered


def run_learn_initialization(settings: LearnInitializationSettings) -> Outcome:
    """Learns the scales; prints the tables and the claims, and draws the figure.

    Args:
        settings: they have no problems.

    Returns:
        What came of it.
    """
    digits, _ = load(settings.data_dir, settings.train_images)
    drawing = Initialization(settings, digits)
    keys = [jax.random.key(1 + seed) for seed in settings.seeds]
    learned = [drawing.learn(key) for key in keys]
    fresh = jax.random.split(jax.random.key(0), settings.starts)
    ends = {
        f"learned, seed {seed}": path[-1]
        for seed, path in zip(settings.seeds, learned, strict=True)
    }
    known = {
        "at first": drawing.all_at(math.exp(settings.start)),
        "1 / √fan-in, no biases": drawing.by_fan_in(),
    }
    found = Outcome(
        [jax.tree.map(lambda *leaves: np.asarray(leaves), *path) for path in learned],
        {name: drawing.judge(scales, fresh) for name, scales in (known | ends).items()},
    )
    print(
        f"{len(digits.labels):,} digits, {settings.steps} steps of {settings.batch}: "
        "loss on all of them after the last step, in nats, median (lowest .. highest) "
        f"of {settings.starts} starts"
    )
    print_table(
        ("scales", "loss"),
        [(name, spread(losses, ".4f")) for name, losses in found.losses.items()],
    )
    print(f"Scales, {math.exp(settings.start):.3f} at first")
    print_table(
        ("layer", "1 / √fan-in", "kernel", "bias"),
        [
            (
                name,
                f"{float(layer['kernel']):.3f}",
                *(
                    spread([path[name][part][-1] for path in found.paths])
                    for part in ("kernel", "bias")
                ),
            )
            for name, layer in drawing.by_fan_in().items()
        ],
    )
    first = float(drawing.by_fan_in()["layer 1"]["kernel"])
    for check in learn_initialization_checks(found, first):
        print(check)
    settings.figure.parent.mkdir(parents=True, exist_ok=True)
    print("drawn:", *draw(found, drawing))
    return found


def learn_initialization_checks(found: Outcome, first: float) -> Sequence[Check]:
    """Tests that scales are learned, and where the first comes to.

    Args:
        found: what came of it.
        first: 1 / √fan-in of the first layer.

    Returns:
        The claims.
    """
    ends = [float(path["layer 1"]["kernel"][-1]) for path in found.paths]
    middle = {name: float(np.median(losses)) for name, losses in found.losses.items()}
    learned = [loss for name, loss in middle.items() if name.startswith("learned")]
    known = [loss for name, loss in middle.items() if not name.startswith("learned")]
    return [
        Check(
            "from other starts, learned scales end at a lower median loss than those "
            "at first and 1 / √fan-in",
            max(learned) < min(known),
            f"{max(learned):.4f} against {min(known):.4f}",
        ),
        Check(
            "the kernel of the first layer comes within a quarter of 1 / √fan-in",
            all(abs(end / first - 1) < 0.25 for end in ends),
            " ".join(f"{end:.3f}" for end in ends) + f" for {first:.3f}",
        ),
    ]


def draw(found: Outcome, drawing: Initialization) -> list[Path]:
    """Draws the scales on their way.

    Args:
        found: what came of it.
        drawing: where 1 / √fan-in is known.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.0), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2, sharey=True)
        known = drawing.by_fan_in()
        for panel, part in zip(panels, ("kernel", "bias"), strict=True):
            for color, (name, layer) in zip(LAYER_COLORS, known.items(), strict=False):
                for path in found.paths:
                    label = name if path is found.paths[0] else None
                    panel.plot(path[name][part], color=color, label=label)
                if part == "kernel":
                    panel.axhline(float(layer[part]), color=color, linestyle=":")
            panel.set_xlabel("training")
            panel.set_title(f"Scale of each {part}", loc="left")
        panels[0].set_yscale("log")
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=len(LAYER_COLORS),
            frameon=False,
            title="dotted: 1 / √fan-in",
            title_fontsize=8,
        )
        return save(figure, drawing.settings.figure)
