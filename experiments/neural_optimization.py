"""A block whose steps descend, and what it does to noise: `... neural_optimization`.

Lyu & Tsang ("Neural Optimization Kernel: Towards Robust Deep Learning", 2021,
arXiv:2106.06097) build a network of T layers from T steps of proximal gradient descent.
They claim that its objective Q falls in each of them, that it is within O(1/T) of the
least one where the penalty is convex, and that the block before a backbone makes it
robust to noise in its input. They plug it into DenseNets and ResNets; here it stands
before two hidden layers that read digits of 8×8 pixels, and only its rotation, if
anything of it, is trained.

What came out. No step ascends: the largest rise in 2,000 steps is 1.8e-16 of the Q at
the start, with all four maps. For the three convex penalties Q_t - Q* is at most 0.129,
0.115 and 0.106 of its bound ‖y*‖² / 2t, with ReLU, shifted ReLU and soft threshold.

Robustness does not come with the block here. At noise of σ = 0.5 the backbone alone has
a median test accuracy of 0.896, with a trained ReLU layer before it 0.898, with blocks
of a random rotation 0.880 to 0.891 and of a trained one 0.885 to 0.904, best with the
ReLU; the seeds of one network differ by 0.010 to 0.020. At σ = 1 the backbone alone has
0.648, the blocks 0.586 to 0.649. More steps do help a random block with the ReLU: one
step (`--block-steps 1`, three seeds) has 0.860 and 0.558 where five have 0.889 and
0.602.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.data import load_digits
from experiments.experiment import Check
from experiments.limits import Limited
from experiments.small_training import train_classifier
from experiments.table import print_table, spread

MapName = Literal["relu", "shifted_relu", "soft", "hard"]
DIGITS = 10
SPLIT_SEED = 0
# The codes of a longer run stand for the minimizer; the bound holds for any code.
LONGER = 10
ROUNDING = 1e-13  # of float64, relative to the objective at the start


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
        if not (self.strength >= 0 and self.rate > 0):
            found.append("--rate must be positive, --strength not negative.")
        if not (self.noises and all(noise >= 0 for noise in self.noises)):
            found.append("--noises must be at least one, none negative.")
        if not (self.maps and self.seeds and min(self.seeds) >= 0):
            found.append("--maps and --seeds must be at least one, seeds not negative.")
        return found


class Descent(NamedTuple):
    """What the objective of some inputs did."""

    rise: float  # the largest in a step, over the value at the start
    left: float  # of the value at the start, on average
    share: float | None  # of the bound of convex penalties, the largest; None without


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


class Network(nnx.Module):
    """A backbone of two hidden layers, and what comes before it.

    Args:
        before: a layer from pixels to more features, or None.
        features: how many it gives.
        width: of the hidden layers.
        rngs: source of the `params` keys.
    """

    def __init__(
        self, before: nnx.Module | None, features: int, width: int, *, rngs: nnx.Rngs
    ):
        self.before = nnx.data(before)
        self.first = nnx.Linear(features, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.readout = nnx.Linear(width, DIGITS, rngs=rngs)

    def __call__(self, inputs: Float[Array, "batch pixels"]) -> Array:
        """Answers for each image."""
        h = inputs if self.before is None else self.before(inputs)
        h = jax.nn.relu(self.first(h))
        return self.readout(jax.nn.relu(self.second(h)))


class Way(NamedTuple):
    """What to put before the backbone."""

    make: Callable[[int, nnx.Rngs], nnx.Module | None]  # of a number of pixels
    is_trained: bool = True

    def before(self, pixels: int, rngs: nnx.Rngs) -> nnx.Module | None:
        """Makes it; what is not trained has been built, and has no parameter."""
        made = self.make(pixels, rngs)
        if made is None or self.is_trained:
            return made
        return gs.nn.materialize(made)


def ways(settings: NeuralOptimizationSettings) -> dict[str, Way]:
    """Names what is put before the backbone; all but nothing doubles the features."""

    def layer(pixels: int, rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Sequential(nnx.Linear(pixels, 2 * pixels, rngs=rngs), jax.nn.relu)

    def block_of(proximal: gs.nn.ProximalMap):
        def block(pixels: int, rngs: nnx.Rngs) -> nnx.Module:
            rotation = gs.nn.Householder(
                (pixels, pixels), matrix_init=nnx.initializers.orthogonal(), rngs=rngs
            )
            return gs.nn.ProximalBlock(
                pixels,
                2 * pixels,
                steps=settings.block_steps,
                proximal=proximal,
                rotation=rotation,
                rngs=rngs,
            )

        return block

    found = {
        "nothing": Way(lambda pixels, rngs: None),
        "trained ReLU layer": Way(layer),
    }
    for name, proximal in proximal_maps(settings).items():
        for kind, is_trained in (("random", False), ("trained", True)):
            found[f"block, {name}, {kind}"] = Way(block_of(proximal), is_trained)
    return found


def accuracies(
    way: Way, settings: NeuralOptimizationSettings
) -> tuple[Float[np.ndarray, "seeds noises"], int]:
    """Trains a network for each seed on clean images.

    Args:
        way: what is put before the backbone.
        settings: see the class.

    Returns:
        The test accuracy of each at each noise, and how many numbers were trained.
    """
    digits = load_digits(SPLIT_SEED)
    (inputs, labels), (tests, answers) = (
        (jnp.asarray(part[0][..., 0]), jnp.asarray(part[1]))
        for part in (digits.train, digits.test)
    )
    pixels = inputs.shape[1]

    def make(rngs: nnx.Rngs) -> Network:
        before = way.before(pixels, rngs)
        features = pixels if before is None else 2 * pixels
        return Network(before, features, settings.width, rngs=rngs)

    def train(key: Array) -> Array:
        model_key, batch_key, noise_key = jax.random.split(key, 3)
        graph, params, fixed = nnx.split(make(nnx.Rngs(model_key)), nnx.Param, ...)

        def answer(params, images):
            return gs.nn.materialize(nnx.merge(graph, params, fixed))(images)

        params = train_classifier(
            answer,
            params,
            inputs,
            labels,
            batch_key,
            rate=settings.rate,
            batch=settings.batch,
            steps=settings.steps,
        )
        noise = jax.random.normal(noise_key, (settings.draws, *tests.shape))

        def score(level):
            found = jnp.argmax(answer(params, tests[None] + level * noise), axis=-1)
            return jnp.mean(jnp.where(found == answers[None], 1.0, 0.0))

        return jax.lax.map(score, jnp.asarray(settings.noises))

    keys = jax.vmap(jax.random.key)(jnp.asarray(settings.seeds, jnp.uint32))
    scores = np.asarray(jax.jit(jax.vmap(train))(keys))
    params = jax.tree.leaves(nnx.state(make(nnx.Rngs(0)), nnx.Param))
    return scores, sum(leaf.size for leaf in params)


def run_neural_optimization(
    settings: NeuralOptimizationSettings,
) -> tuple[Mapping[str, Descent], Mapping[str, np.ndarray]]:
    """Follows every descent and trains every network; prints tables and claims.

    Args:
        settings: they have no problems.

    Returns:
        What each descent did, and the accuracies of each network.
    """
    descents = {
        name: descent(proximal, settings)
        for name, proximal in proximal_maps(settings).items()
    }
    print(
        f"d = {settings.in_features}, N = {settings.code_features}, "
        f"{settings.descent_steps:,} steps from {settings.inputs} inputs"
    )
    print_table(
        ("map", "largest rise of Q / Q_0", "Q_T / Q_0", "largest t (Q_t - Q*) / bound"),
        [
            (
                name,
                f"{one.rise:.1e}",
                f"{one.left:.1e}",
                "-" if one.share is None else f"{one.share:.3f}",
            )
            for name, one in descents.items()
        ],
    )
    for check in neural_optimization_checks(descents):
        print(check)
    found = {name: accuracies(way, settings) for name, way in ways(settings).items()}
    print(
        f"\n8×8 digits, {settings.steps:,} steps of Adam at {settings.rate:g} without "
        "noise: accuracy on noisy test images, median (lowest .. highest) of "
        f"{len(settings.seeds)} seeds"
    )
    print_table(
        ("before the backbone", "trained", *(f"σ = {s:g}" for s in settings.noises)),
        [
            (name, f"{count:,}", *map(spread, scores.T))
            for name, (scores, count) in found.items()
        ],
    )
    return descents, {name: scores for name, (scores, _) in found.items()}


def neural_optimization_checks(descents: Mapping[str, Descent]) -> Sequence[Check]:
    """Tests that every step descends, and the O(1/T) bound of convex penalties."""
    rises = {name: one.rise for name, one in descents.items()}
    checks = [
        Check(
            "no step ascends, with any map",
            max(rises.values()) <= ROUNDING,
            ", ".join(f"{name} {rise:.1e}" for name, rise in rises.items()),
        )
    ]
    shares = {n: one.share for n, one in descents.items() if one.share is not None}
    if shares:
        checks.append(
            Check(
                "with a convex penalty t (Q_t - Q*) stays below ‖y*‖² / 2",
                max(shares.values()) <= 1,
                ", ".join(f"{name} {share:.3f}" for name, share in shares.items()),
            )
        )
    return checks
