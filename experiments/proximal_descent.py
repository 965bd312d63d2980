"""What the objective of a proximal block does, step by step."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import gradstab as gs
from experiments.limits import Limited

MapName = Literal["relu", "shifted_relu", "soft", "hard"]
# The codes of a longer run stand for the minimizer; the bound holds for any code.
LONGER = 10


@dataclass(frozen=True)
class NeuralOptimizationSettings(Limited):
    """Descent of proximal blocks, and noisy digits with and without one.

    Attributes:
        maps: the proximal maps to try.
        in_features: length of an input of the descent.
        code_features: length of its code.
        descent_steps: steps that are followed.
        inputs: how many standard normal inputs are followed.
        strength: the factor of the penalties but for the ReLU's, which has none.
        block_steps: steps of the block before the backbone, T.
        width: of the two hidden layers of the backbone.
        noises: standard deviations of the noise on test images, whose pixels lie in
            [-1, 1]; it is normal, and training sees none.
        draws: of the noise, for each test image.
        rate: learning rate of Adam.
        batch: images in a training step.
        steps: training steps.
        seeds: one network each.
    """

    maps: tuple[MapName, ...] = ("relu", "shifted_relu", "soft", "hard")
    in_features: int = 32
    code_features: int = 64
    descent_steps: int = 2000
    inputs: int = 16
    strength: float = 0.1
    block_steps: int = 5
    width: int = 64
    noises: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    draws: int = 10
    rate: float = 1e-3
    batch: int = 64
    steps: int = 1500
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        counts = "descent_steps", "inputs", "block_steps", "width", "draws", "batch"
        found = self.below(2, "in_features") + self.below(1, *counts, "steps")
        if self.in_features % 2 or self.code_features % 2:
            found.append("--in-features and --code-features must be even.")
        if self.code_features < self.in_features:
            found.append("--code-features must be at least --in-features.")
        found += self.not_positive("rate") + self.below(0, "strength")
        if not (self.noises and all(noise >= 0 for noise in self.noises)):
            found.append("--noises must be at least one, none negative.")
        if not self.maps:
            found.append("--maps must be at least one.")
        return found + self.not_seeds("seeds")


def proximal_maps(
    settings: NeuralOptimizationSettings,
) -> dict[str, gs.nn.ProximalMap]:
    """Names the maps that were asked for."""
    strength = settings.strength
    maps: dict[MapName, tuple[str, gs.nn.ProximalMap]] = {
        "relu": ("ReLU", gs.nn.ReLU()),
        "shifted_relu": ("shifted ReLU", gs.nn.ShiftedReLU(strength)),
        "soft": ("soft threshold", gs.nn.SoftThreshold(strength)),
        "hard": ("hard threshold", gs.nn.HardThreshold(strength)),
    }
    return dict(maps[name] for name in settings.maps)


class Descent(NamedTuple):
    """What the objective of some inputs did."""

    rise: float  # the largest in a step, over the value at the start
    left: float  # of the value at the start, on average
    share: float | None  # of the bound of convex penalties, the largest; None without


def descent(
    proximal: gs.nn.ProximalMap, settings: NeuralOptimizationSettings
) -> Descent:
    """Follows the objective of random inputs, in double precision.

    Args:
        proximal: the map of the block.
        settings: see the class.

    Returns:
        Its largest rise, what is left of it, and the largest t (Q_t - Q*) over
        ‖y*‖² / 2, which is at most 1 where the penalty is convex.
    """
    size, steps = settings.in_features, settings.descent_steps
    with jax.enable_x64(True):
        rngs = nnx.Rngs(0)
        block = gs.nn.ProximalBlock(
            size,
            settings.code_features,
            proximal=proximal,
            param_dtype=jnp.float64,
            rngs=rngs,
        )
        x = jax.random.normal(rngs.params(), (settings.inputs, size))

        @jax.jit
        def follow(block, x):
            block = gs.nn.materialize(block)

            def advance(y, _):
                y = block.step(y, x)
                return y, block.objective(y, x)

            start = jnp.zeros((settings.inputs, settings.code_features))
            last, values = jax.lax.scan(advance, start, length=LONGER * steps)
            values = jnp.concatenate([block.objective(start, x)[None], values])
            return values, jnp.sum(last**2, axis=-1) / 2

        values, half_square = map(np.asarray, follow(block, x))
    times = np.arange(1, steps + 1)[:, None]
    gaps = times * (values[1 : steps + 1] - values[-1])
    # Where the minimum lies at 0, where the steps start, there is no gap and no bound.
    share = np.where(
        half_square > 0, gaps / np.where(half_square > 0, half_square, 1), gaps
    )
    return Descent(
        float(np.max(np.diff(values[: steps + 1], axis=0) / values[0])),
        float(np.mean(values[steps] / values[0])),
        float(np.max(share)) if proximal.is_convex else None,
    )
