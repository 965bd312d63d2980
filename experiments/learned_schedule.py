"""Step sizes and momenta of every step, learned by hypergradients."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.digit_trainings import DigitTrainingsSettings, Trainings
from experiments.outer_loop import descend
from gradstab.reversible import Schedules

LEAST_MOMENTUM, MOST_MOMENTUM = 0.1, 0.999


@dataclass(frozen=True)
class LearnScheduleSettings(DigitTrainingsSettings):
    """Learning the rates of every step and every layer.

    Attributes:
        searched: constant step sizes, and constant momenta, that are tried twice, from
            as many starts: over the whole range, and around the best.
        head_start: what the best constant step size is multiplied by for a start; at it
            training is on the edge of what is stable, where hypergradients grow.
        figure: where schedules and curves are drawn, without the ending.
    """

    searched: tuple[int, int] = (16, 8)
    head_start: float = 0.5
    figure: Path = Path("runs/learn_schedule")

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = super().problems() + self.not_positive("head_start")
        if min(self.searched) < 2:
            found.append("--searched must be two numbers of at least 2.")
        return found


class Learned(NamedTuple):
    """What came of learning schedules.

    Attributes:
        losses: the final loss of each training on the way.
        schedules: for each layer's kernel and bias.
    """

    losses: Float[np.ndarray, " outer"]
    schedules: Schedules


def search(
    settings: LearnScheduleSettings, trainings: Trainings, key: Array
) -> Schedules:
    """Finds the best constant step size and momentum, on a grid and a finer one.

    Args:
        settings: see the class.
        trainings: what the rates are for.
        key: of the starts that they are judged by.

    Returns:
        Those of the lowest mean loss.
    """
    keys = jax.random.split(key, settings.starts)

    @jax.jit
    @jax.vmap
    def judge(size: Array, momentum: Array) -> Array:
        def final(key: Array) -> Array:
            return trainings.final(Schedules(size, momentum), *trainings.start(key))

        return jnp.mean(jax.lax.map(final, keys))

    sizes, momenta = settings.searched
    logs, odds = (np.log(0.01), np.log(10.0)), (-2.0, 4.5)
    best = (np.inf, 0.0, 0.0)
    for _ in range(2):
        grid = np.meshgrid(np.linspace(*logs, sizes), np.linspace(*odds, momenta))
        log, odd = (jnp.asarray(axis.ravel(), jnp.float32) for axis in grid)
        losses = np.asarray(judge(jnp.exp(log), jax.nn.sigmoid(odd)))
        # What diverged is NaN.
        i = int(np.nanargmin(losses))
        best = min(best, (float(losses[i]), float(log[i]), float(odd[i])))
        gaps = np.ptp(logs) / (sizes - 1), np.ptp(odds) / (momenta - 1)
        logs = best[1] - gaps[0], best[1] + gaps[0]
        odds = best[2] - gaps[1], best[2] + gaps[1]
    return Schedules(float(np.exp(best[1])), float(1 / (1 + np.exp(-best[2]))))


def learn(
    settings: LearnScheduleSettings,
    trainings: Trainings,
    constant: Schedules,
    key: Array,
) -> Learned:
    """Learns a step size and a momentum for each step of each kernel and bias.

    Args:
        settings: see the class.
        trainings: what the rates are for.
        constant: rates near which learning begins.
        key: of the starts that they are learned from.

    Returns:
        The curve, and the schedules at last.
    """
    shape = jax.eval_shape(trainings.start, key)[0]

    def each(value: float) -> Any:
        return jax.tree.map(lambda _: jnp.full(settings.steps, value), shape)

    span = MOST_MOMENTUM - LEAST_MOMENTUM
    share = (constant.momentum - LEAST_MOMENTUM) / span
    size = settings.head_start * constant.step_size
    raw = each(np.log(size)), each(np.log(share / (1 - share)))

    def rates(raw: Any) -> Schedules:
        log_sizes, odds = raw
        momentum = jax.tree.map(
            lambda odd: LEAST_MOMENTUM + span * jax.nn.sigmoid(odd), odds
        )
        return Schedules(jax.tree.map(jnp.exp, log_sizes), momentum)

    def slope(raw: Any, key: Array) -> tuple[Array, Any]:
        start = trainings.start(key)
        final = jax.value_and_grad(lambda raw: trainings.final(rates(raw), *start))
        return final(raw)

    keys = jax.random.split(key, settings.outer_steps)
    descent = descend(slope, raw, settings.outer_rate, keys)
    return Learned(descent.losses, rates(descent.path[-1]))
