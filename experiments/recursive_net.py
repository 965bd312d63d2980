"""A network of recursions through one basis of filters, and its training."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.data.gratings import CLASSES, Batch, gratings
from experiments.limits import Limited

Start = Literal["orthonormal", "he", "he, scaled"]
STARTS: tuple[Start, ...] = get_args(Start)


@dataclass(frozen=True)
class RecursiveGratingsSettings(Limited):
    """Recursive networks on gratings.

    Attributes:
        recursions: how many there are.
        features: channels, and filters of the basis.
        noise: standard deviation of the noise, where a grating has an amplitude of 1.
        penalty: weight of the penalty where there is one.
        rate: learning rate.
        momentum: of the gradient descent.
        clip: norm that all gradients together are clipped at.
        batch: images in a training step.
        steps: training steps.
        test_images: images that are tested on.
        draws: networks whose gradient is measured before training.
        seeds: one network each.
    """

    recursions: tuple[int, ...] = (4, 8, 12)
    features: int = 16
    noise: float = 1.0
    penalty: float = 10.0
    rate: float = 0.02
    momentum: float = 0.9
    clip: float = 1.0
    batch: int = 64
    steps: int = 400
    test_images: int = 1000
    draws: int = 24
    seeds: tuple[int, ...] = (0, 1, 2)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "features", "batch", "steps", "test_images", "draws")
        found += self.below(0, "noise", "penalty", "clip")
        if min(self.recursions, default=0) < 1:
            found.append("--recursions must be at least one number, none below 1.")
        found += self.not_positive("rate") + self.not_momenta("momentum")
        return found + self.not_seeds("seeds")


class RecursiveNet(nnx.Module):
    """A stem, recursions through one basis, and a read-out.

    Args:
        recursions: how many.
        start: how the basis is drawn.
        features: channels, and filters of the basis.
        rngs: source of the `params` keys.
    """

    def __init__(self, recursions: int, start: Start, features: int, *, rngs: nnx.Rngs):
        he = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
        self.stem = nnx.Conv(1, features, (3, 3), kernel_init=he, rngs=rngs)

        def basis(shape: tuple[int, int]) -> gs.nn.Unconstrained:
            made = gs.nn.Unconstrained(shape, rngs=rngs)
            if start != "orthonormal":
                # 9 positions times `features` filters go out of each entry.
                drawn = jax.random.normal(rngs.params(), shape)
                drawn *= (2 / (9 * features)) ** 0.5
                if start == "he, scaled":
                    drawn *= jnp.linalg.norm(made()) / jnp.linalg.norm(drawn)
                made.assign(drawn)
            return made

        self.block = gs.nn.RecursiveBlock(
            features,
            recursions=recursions,
            shared_features=features,
            private_features=0,
            residual=False,
            basis=basis,
            rngs=rngs,
        )
        self.readout = nnx.Linear(features, CLASSES, rngs=rngs)

    def __call__(
        self, images: Float[Array, "batch side side 1"]
    ) -> Float[Array, "batch classes"]:
        """Answers for each image."""
        h = self.block(jax.nn.relu(self.stem(images)))
        return self.readout(jnp.mean(h, axis=(1, 2)))


def network(
    recursions: int, start: Start, features: int, seed: int
) -> tuple[Any, Any, Array]:
    """Makes a network; returns its graph, its parameters and a key for the rest."""
    rngs = nnx.Rngs(seed)
    net = RecursiveNet(recursions, start, features, rngs=rngs)
    return *nnx.split(net, nnx.Param), rngs.params()


def loss(graph: Any, params: Any, batch: Batch, penalty: Any) -> Float[Array, ""]:
    """Computes the mean cross-entropy, and the penalty on the basis."""
    answers, labels = nnx.merge(graph, params)(batch[0]), batch[1]
    entropy = optax.softmax_cross_entropy_with_integer_labels(answers, labels)
    held = gs.optim.orthogonality_penalty(params["block"]["bases"])
    return jnp.mean(entropy) + penalty * held


@partial(jax.jit, static_argnums=(0, 1))
def first_gradient(
    graph: Any, settings: RecursiveGratingsSettings, params: Any, key: Array
) -> Float[Array, ""]:
    """Measures the norm of the basis' gradient on a batch, without penalty."""
    batch = gratings(key, settings.batch, settings.noise)
    gradient = jax.grad(loss, argnums=1)(graph, params, batch, 0.0)
    return optax.tree.norm(gradient["block"]["bases"])


def gradients(
    recursions: int, start: Start, settings: RecursiveGratingsSettings
) -> Float[np.ndarray, " draws"]:
    """Measures the basis' gradient of `draws` networks before training."""
    nets = (
        network(recursions, start, settings.features, seed)
        for seed in range(settings.draws)
    )
    return np.array([
        first_gradient(graph, settings, params, key) for graph, params, key in nets
    ])


def optimizer_of(settings: RecursiveGratingsSettings) -> Any:
    """Makes gradient descent with momentum on clipped gradients."""
    return optax.chain(
        gs.optim.safe_clip_by_global_norm(settings.clip),
        optax.sgd(settings.rate, settings.momentum),
    )


# Not a loop that is compiled: XLA's convolutions are slow in those on a CPU.
@partial(jax.jit, static_argnums=(0, 1))
def step(
    graph: Any,
    settings: RecursiveGratingsSettings,
    params: Any,
    state: Any,
    penalty: Array,
    key: Array,
) -> tuple[Any, Any]:
    """Takes a training step; returns the parameters and the optimizer's state."""
    batch = gratings(key, settings.batch, settings.noise)
    gradient = jax.grad(loss, argnums=1)(graph, params, batch, penalty)
    updates, state = optimizer_of(settings).update(gradient, state, params)
    return optax.apply_updates(params, updates), state


class Trained(NamedTuple):
    """What came of one network a seed.

    Attributes:
        penalty: ‖BᵀB - I‖² per entry after training.
        accuracy: on images not seen.
    """

    penalty: Float[np.ndarray, " seeds"]
    accuracy: Float[np.ndarray, " seeds"]


def train(
    recursions: int, start: Start, penalty: float, settings: RecursiveGratingsSettings
) -> Trained:
    """Trains a network for each seed.

    Args:
        recursions: how many.
        start: how the basis is drawn.
        penalty: weight of the penalty on it.
        settings: see the class.

    Returns:
        What came of it.
    """

    def one(seed: int) -> tuple[float, float]:
        graph, params, key = network(recursions, start, settings.features, seed)
        *keys, last = jax.random.split(key, settings.steps + 1)
        state = optimizer_of(settings).init(params)
        for key in keys:
            params, state = step(
                graph, settings, params, state, jnp.asarray(penalty), key
            )
        images, labels = gratings(last, settings.test_images, settings.noise)
        found = jnp.argmax(nnx.merge(graph, params)(images), axis=-1)
        held = gs.optim.orthogonality_penalty(params["block"]["bases"])
        return float(held), float(jnp.mean(found == labels))

    return Trained(*np.array([one(seed) for seed in settings.seeds]).T)
