"""Gradients against depth: `python -m experiments channel_norm_depth`.

Dai & Heckel ("Channel Normalization in Convolutional Neural Network avoids Vanishing
Gradients", ICML workshop 2019, arXiv:1907.09539) fit chains of circular convolutions of
one channel to one signal. The first table is the norm of the gradient with respect to
the last of d random filters as long as the signal, median and 5 % to 95 % of the draws:

    f(w) = ½ ‖y - X w‖²,  or  ½ ‖y - X w / ‖X w‖‖²,  X = C(x) C(w_1) ... C(w_{d-1}).

The filters are N(0, 1/n) but for the last, which is N(0, 1) as y is; x has mean 0. A
frequency of X has the logarithmic mean -γ_E/2 for each filter, which makes the gradient
vanish geometrically; the norm ‖X w‖ is as small, and dividing by it undoes it.

The second table is training: d filters of 15 positions, each followed by
`nn.ChannelNorm` (`full`, or `bias`, the control of the same expressive power), and a
read-out through the sigmoid, fitted to a step by gradient descent with momentum.

What came out: medians of 19, 23, 2.3, 0.06 and 2·10⁻⁵ at 2, 6, 20, 40 and 80 filters,
and with normalization of 0.98, 0.95, 0.86, 0.78 and 0.74; training ends at median
errors of 4·10⁻⁵, 6·10⁻⁴ and 3·10⁻³ at 5, 10 and 30 filters, and without it at those of
a constant. Two minutes.

What differs: their program for the first table drops the projection I - uuᵀ from the
gradient by a slip (a product of vectors that collapses to a number); here it is there.
Their training does not end in a table; the settings are theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.experiment import Check
from experiments.limits import Limited
from experiments.table import print_table

Mode = Literal["full", "bias"]
MODES: tuple[Mode, ...] = get_args(Mode)
STUCK = 0.24  # just below the error of the best constant


@dataclass(frozen=True)
class ChannelNormDepthSettings(Limited):
    """Gradients and training of chains of convolutions.

    Attributes:
        size: positions of the signals of the first table, n.
        draws: random chains of each depth.
        depths: of the first table.
        train_size: positions of the signals of the second table.
        kernel: positions of a trained filter.
        train_depths: of the second table.
        rate: learning rate.
        momentum: of the gradient descent.
        steps: training steps.
        seeds: one chain each.
    """

    size: int = 100
    draws: int = 2000
    depths: tuple[int, ...] = (2, 6, 20, 40, 80)
    train_size: int = 128
    kernel: int = 15
    train_depths: tuple[int, ...] = (5, 10, 30)
    rate: float = 0.1
    momentum: float = 0.9
    steps: int = 3000
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(3, "size", "train_size") + self.below(1, "draws", "steps")
        found += self.outside(1, {"kernel": self.train_size})
        if min(self.depths, default=0) < 2 or min(self.train_depths, default=0) < 1:
            found.append(
                "--depths must be at least one number, none below 2, "
                "and --train-depths one, none below 1."
            )
        found += self.not_positive("rate")
        return found + self.not_momenta("momentum") + self.not_seeds("seeds")


def objective(
    last: Float[Array, " size"],
    signals: Float[Array, "filters size"],
    target: Float[Array, " size"],
    *,
    normalized: bool,
) -> Float[Array, ""]:
    """Computes f of the last filter.

    Args:
        last: w.
        signals: x and the other filters, whose circular convolution X is.
        target: y.
        normalized: whether X w is divided by its norm.

    Returns:
        Half the squared distance.
    """
    product = jnp.prod(jnp.fft.rfft(signals), axis=0) * jnp.fft.rfft(last)
    answer = jnp.fft.irfft(product, last.size)
    if normalized:
        answer /= jnp.linalg.norm(answer)
    return jnp.sum((target - answer) ** 2) / 2


def gradient_norms(
    depth: int, settings: ChannelNormDepthSettings
) -> dict[bool, Float[np.ndarray, " draws"]]:
    """Measures the gradient of every random chain, without and with normalization."""

    def measure(key: Array, normalized: bool) -> Array:
        keys = jax.random.split(key, 3)
        size = settings.size
        signals = jax.random.normal(keys[0], (depth, size)) / size**0.5
        signals = signals.at[0].add(-jnp.mean(signals[0]))
        last, target = (jax.random.normal(one, (size,)) for one in keys[1:])
        gradient = jax.grad(objective)(last, signals, target, normalized=normalized)
        return jnp.linalg.norm(gradient)

    keys = jax.random.split(jax.random.key(depth), settings.draws)
    measured = jax.jit(jax.vmap(measure, (0, None)), static_argnums=1)
    return {kind: np.asarray(measured(keys, kind)) for kind in (False, True)}


class Chain(nnx.Module):
    """Circular convolutions of one channel, each normalized, and a read-out.

    Args:
        depth: how many there are.
        mode: of the normalization.
        settings: their size.
        rngs: source of the `params` keys.
    """

    def __init__(
        self,
        depth: int,
        mode: Mode,
        settings: ChannelNormDepthSettings,
        *,
        rngs: nnx.Rngs,
    ):
        limit = settings.kernel**-0.5
        self.filters = nnx.Param(
            jax.random.uniform(
                rngs.params(), (depth, settings.kernel), minval=-limit, maxval=limit
            )
        )
        norms = [
            gs.nn.ChannelNorm(1, mode=mode, spatial_axes=1, rngs=rngs)
            for _ in range(depth)
        ]
        self.norms = nnx.List(norms)
        self.readout = nnx.Linear(1, 1, rngs=rngs)

    def __call__(self, signal: Float[Array, " size"]) -> Float[Array, " size"]:
        """Answers at every position."""
        size, reach = signal.size, self.filters.shape[1]
        # Products with gathered positions: XLA's convolutions are slow in loops.
        places = np.add.outer(np.arange(size), np.arange(reach) - reach // 2) % size
        for kernel, norm in zip(self.filters[...], self.norms, strict=True):
            signal = norm((signal[places] @ kernel)[:, None])[:, 0]
        return jax.nn.sigmoid(self.readout(signal[:, None])[:, 0])


def train(
    depth: int, mode: Mode, settings: ChannelNormDepthSettings
) -> tuple[Float[np.ndarray, " seeds"], Float[np.ndarray, " seeds"]]:
    """Trains a chain for each seed.

    Args:
        depth: of the chains.
        mode: of their normalization.
        settings: see the class.

    Returns:
        The norms of the first filter's gradient before training, and the mean squared
        errors after it.
    """
    size = settings.train_size
    target = jnp.where(jnp.arange(size) < size // 2, 0.0, 1.0)
    optimizer: Any = optax.sgd(settings.rate, settings.momentum)

    def one(key: Array) -> tuple[Array, Array]:
        rngs = nnx.Rngs(key)
        signal = jax.random.uniform(rngs.params(), (size,))
        chain = Chain(depth, mode, settings, rngs=rngs)
        graph, params = nnx.split(chain, nnx.Param)

        def loss(params: Any) -> Array:
            return jnp.mean((nnx.merge(graph, params)(signal) - target) ** 2)

        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, updates), state), None

        first = jnp.linalg.norm(jax.grad(loss)(params)["filters"][...][0])
        carry = params, optimizer.init(params)
        (params, _), _ = jax.lax.scan(step, carry, length=settings.steps)
        return first, loss(params)

    keys = jax.vmap(jax.random.key)(jnp.asarray(settings.seeds, jnp.uint32))
    first, errors = jax.jit(jax.vmap(one))(keys)
    return np.asarray(first), np.asarray(errors)


Norms = Mapping[int, Mapping[bool, np.ndarray]]
Errors = Mapping[tuple[int, str], np.ndarray]


def run_channel_norm_depth(settings: ChannelNormDepthSettings) -> tuple[Norms, Errors]:
    """Measures and trains every depth; prints the tables and the claims.

    Args:
        settings: they have no problems.

    Returns:
        The norms of each depth without and with normalization, and the errors of each
        depth and mode.
    """
    norms = {depth: gradient_norms(depth, settings) for depth in settings.depths}
    print(
        f"‖∂f/∂w‖ of linear chains, n = {settings.size}, {settings.draws} draws: "
        "median [5 %, 95 %]"
    )
    print_table(
        ("filters", "plain", "normalized"),
        [
            (f"{depth}", *(_spread(found[kind]) for kind in (False, True)))
            for depth, found in norms.items()
        ],
    )
    trained = {
        (depth, mode): train(depth, mode, settings)
        for depth in settings.train_depths
        for mode in MODES
    }
    print(
        f"training, n = {settings.train_size}, {settings.steps} steps, "
        f"median of {len(settings.seeds)} seeds"
    )
    print_table(
        ("filters", "ChannelNorm", "first gradient", "error", "lowest", "highest"),
        [
            (
                f"{depth}",
                mode,
                f"{np.median(first):.1e}",
                f"{np.median(errors):.1e}",
                f"{np.min(errors):.1e}",
                f"{np.max(errors):.1e}",
            )
            for (depth, mode), (first, errors) in trained.items()
        ],
    )
    errors = {place: found for place, (_, found) in trained.items()}
    for check in channel_norm_checks(norms, errors):
        print(check)
    return norms, errors


def channel_norm_checks(norms: Norms, errors: Errors) -> Sequence[Check]:
    """Tests that depth makes gradients vanish, and that normalization undoes it."""
    plain, normalized = (
        [float(np.median(norms[depth][kind])) for depth in sorted(norms)]
        for kind in (False, True)
    )
    fitted, stuck = (
        np.concatenate([errors[place] for place in errors if place[1] == mode])
        for mode in MODES
    )
    return [
        Check(
            "without normalization the gradient vanishes with depth",
            plain[-1] < plain[0] / 1000,
            " > ".join(f"{one:.2g}" for one in plain),
        ),
        Check(
            "with it the gradient stays within a factor of 2",
            max(normalized) < 2 * min(normalized),
            ", ".join(f"{one:.2g}" for one in normalized),
        ),
        Check(
            "without it every run is stuck at the error of a constant, 0.25, or above",
            float(np.min(stuck)) > STUCK,
            f"at least {np.min(stuck):.2g}",
        ),
        Check(
            "with it every run at every depth ends better than all without it",
            float(np.max(fitted)) < float(np.min(stuck)),
            f"at most {np.max(fitted):.2g}",
        ),
    ]


def _spread(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, [5, 50, 95])
    return f"{middle:.2g} [{low:.2g}, {high:.2g}]"
