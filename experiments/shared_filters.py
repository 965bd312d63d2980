"""Residual networks that share filters: `python -m experiments shared_filters`.

Kang & Kim ("Deeply Shared Filter Bases for Parameter-Efficient Convolutional Neural
Networks", NeurIPS 2021, arXiv:2006.05066) let all convolutions of a stage but those of
its first block share a basis of filters, orthonormal at first and held so by a penalty
of λ = 10, lest the gradient of the basis vanish or explode. They train on CIFAR and
ImageNet for 150 to 300 passes.

The first table counts the parameters of their networks. The second is the norm of the
gradient of each stage's basis before training, by the number of blocks that share it.
The third is what comes of training: of ordinary networks, and of those that share, with
and without the penalty.

What came out. The counts are those of the authors' tables, which round some and cut
others, but for two: DenseNet121-S64U4, 5.61 million where they print 5.08, and
ResNet56-S16U1, 0.27 where they print 0.22. With normalization gradients grow toward the
input whatever the basis: from 1 to 7 recursions that of the first stage's goes from 1.1
to 20 if it is orthonormal, from 0.83 to 15 as He et al. draw it, and from 1.2 to 22 if
that is scaled to the same norm. So before training it is the scale alone that tells
them apart, as it is without normalization (`recursive_gratings`). In training it is the
penalty that matters: ‖BᵀB - I‖² per entry ends at 1.2·10⁻³ and 3.7·10⁻³ at 1 and 7
recursions with it, at 0.014 and 8.1 without. The accuracies are 0.397 and 0.242 with
it, 0.376 and 0.132 without, and 0.390 and 0.123 of ordinary networks, which have
175,258 and 758,554 parameters where those that share have 144,822 and 255,198. One
seed, three passes, a rate of 0.1: the deep ones have hardly begun.

What differs: `shared_filters` takes 3,500 images, averaged over 2×2 pixels, for a few
passes, so that accuracies are not comparable with published ones. Their setting is
`--side 32 --batch 256 --passes 300` with all of CIFAR-10, hours on an accelerator; no
run is kept. The shared bases are spared by weight decay, which works against the
penalty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

import gradstab as gs
from experiments.data.cifar10 import SAMPLE, load_cifar10, load_cifar10_sample
from experiments.data.images import averaged
from experiments.experiment import Check
from experiments.limits import Limited, flag
from experiments.shared_basis import PUBLISHED, ResNet, count_parameters
from experiments.table import print_table

CLASSES, SIDE = 10, 32
AT_ONCE = 250  # images that are tested together
Start = Literal["orthonormal", "he", "he, scaled"]
STARTS: tuple[Start, ...] = get_args(Start)
Way = Literal["ordinary", "shared, penalized", "shared"]
WAYS: tuple[Way, ...] = get_args(Way)


@dataclass(frozen=True)
class SharedFiltersSettings(Limited):
    """Residual networks on CIFAR-10, filters shared or not.

    Attributes:
        data_dir: folder with the sample `cifar10_sample.npz`, or with all of CIFAR-10,
            `cifar-10-binary.tar.gz`; without, the latter is downloaded.
        train_images: how many training images are used, the first; 0 for all.
        side: pixels a side that images are averaged to.
        stages: how many there are, each with half of the side of the one before.
        blocks: of each stage, where gradients are measured before training; the first
            of a stage shares nothing.
        train_blocks: of each stage of the networks that are trained.
        features: channels of the first stage, and filters of its basis.
        penalty: λ.
        rate: learning rate of the first half of the steps; a tenth of it in the third
            quarter, a hundredth in the last.
        momentum: of the gradient descent.
        decay: weight decay, of all but the shared bases.
        batch: images in a training step.
        passes: through the training set.
        draws: networks whose gradient is measured before training.
        seeds: one network each.
    """

    data_dir: Path | None = None
    train_images: int = 0
    side: int = 16
    stages: int = 3
    blocks: tuple[int, ...] = (2, 4, 8)
    train_blocks: tuple[int, ...] = (2, 8)
    features: int = 16
    penalty: float = 10.0
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4
    batch: int = 64
    passes: int = 3
    draws: int = 5
    seeds: tuple[int, ...] = (0,)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "stages", "features", "batch", "passes", "draws")
        found += self.below(0, "train_images", "penalty", "decay")
        if self.side not in {8, 16, 32}:
            found.append(f"--side must be 8, 16 or 32, got {self.side}.")
        for name in ("blocks", "train_blocks"):
            if min(getattr(self, name), default=0) < 2:
                found.append(
                    f"--{flag(name)} must be at least one number, none below 2."
                )
        if not (self.rate > 0 and 0 <= self.momentum < 1):
            found.append("--rate must be positive, --momentum in [0, 1).")
        if min(self.seeds, default=-1) < 0:
            found.append("--seeds must be at least one, none negative.")
        return found


class Images(NamedTuple):
    """Images with mean 0 and variance 1 in each channel of the training set."""

    train: tuple[Float[Array, "count side side 3"], Int[Array, " count"]]
    test: tuple[Float[Array, "count side side 3"], Int[Array, " count"]]


def load_images(settings: SharedFiltersSettings) -> Images:
    """Loads what is trained and tested on."""
    folder = settings.data_dir
    if folder is not None and (folder / SAMPLE.name).exists():
        splits = load_cifar10_sample(folder)
    else:
        splits = load_cifar10(folder)

    times = SIDE // settings.side
    count = settings.train_images or len(splits.train.images)
    train = averaged(splits.train.images[:count], times)
    test = averaged(splits.test.images, times)
    mean, deviation = (f(train, axis=(0, 1, 2)) for f in (np.mean, np.std))
    return Images(
        (
            jnp.asarray((train - mean) / deviation),
            jnp.asarray(splits.train.labels[:count]),
        ),
        (
            jnp.asarray((test - mean) / deviation),
            jnp.asarray(splits.test.labels),
        ),
    )


def network(
    blocks: int, start: Start | None, settings: SharedFiltersSettings, key: Array
) -> ResNet:
    """Makes a network.

    Args:
        blocks: of each stage.
        start: how its shared bases are drawn; None for an ordinary network.
        settings: see the class.
        key: of all that is drawn.

    Returns:
        The network.
    """
    rngs = nnx.Rngs(key)

    def he(shape: tuple[int, int]) -> gs.nn.Unconstrained:
        # Of what goes out of 9 positions, as the convolutions that share nothing; or
        # of the norm that orthonormal columns have, which tells how much is scale.
        variance = 2 / (9 * shape[1]) if start == "he" else 1 / shape[0]
        init = nnx.initializers.normal(variance**0.5)
        return gs.nn.Unconstrained(shape, matrix_init=init, rngs=rngs)

    return ResNet(
        (blocks,) * settings.stages,
        features=settings.features,
        shared_features=settings.features if start else None,
        basis=None if start == "orthonormal" else he,
        rngs=rngs,
    )


def bases_of(tree: Any) -> list[Any]:
    """Lists the shared bases of every stage of a network, or what belongs to them."""
    blocks = (stage["layers"][1] for stage in tree["stages"].values())
    return [block["bases"] for block in blocks if "bases" in block]


def is_basis(path: Sequence[Any]) -> bool:
    """Tells whether a path leads to a shared basis."""
    return "bases" in path


def loss_of(model: ResNet, images: Array, labels: Array) -> Float[Array, ""]:
    """Computes the mean cross-entropy."""
    entropy = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
    return jnp.mean(entropy)


@nnx.jit
def first_gradients(
    model: ResNet, images: Array, labels: Array
) -> Float[Array, " stages"]:
    """Measures the norm of the gradient of every stage's basis."""
    gradient = nnx.grad(loss_of)(model, images, labels)
    return jnp.stack([optax.tree.norm(basis) for basis in bases_of(gradient)])


@nnx.jit
def step(
    model: ResNet, optimizer: nnx.Optimizer, images: Array, labels: Array
) -> Float[Array, ""]:
    """Takes a training step; returns the norm of the gradient of all shared bases."""
    gradient = nnx.grad(loss_of)(model, images, labels)
    optimizer.update(model, gradient)
    # Of the cross-entropy alone: the penalty's is added by the optimizer.
    return optax.tree.norm(bases_of(gradient))


@partial(jax.jit, static_argnums=2)
def augmented(
    images: Float[Array, "batch side side 3"], key: Array, pad: int
) -> Float[Array, "batch side side 3"]:
    """Moves every image by up to `pad` pixels, and mirrors half of them."""
    count = len(images)
    places, coins = jax.random.split(key)
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def cut(image: Array, corner: Array, is_mirrored: Array) -> Array:
        moved = jax.lax.dynamic_slice(image, (*corner, 0), images.shape[1:])
        return jnp.where(is_mirrored, moved[:, ::-1], moved)

    corners = jax.random.randint(places, (count, 2), 0, 2 * pad + 1)
    return jax.vmap(cut)(padded, corners, jax.random.bernoulli(coins, shape=(count,)))


@nnx.jit
def right(model: ResNet, images: Array, labels: Array) -> Int[Array, ""]:
    """Counts the images that are named."""
    return jnp.sum(jnp.argmax(model(images), axis=-1) == labels)


class Trained(NamedTuple):
    """What came of a network.

    Attributes:
        parameters: how many it has.
        accuracy: on the test images.
        penalty: ‖BᵀB - I‖² per entry of the shared bases; 0 if there are none.
        gradients: the norm of their gradient in each step; 0 if there are none.
    """

    parameters: int
    accuracy: float
    penalty: float
    gradients: Float[np.ndarray, " steps"]


def train(
    blocks: int,
    way: Way,
    images: Images,
    settings: SharedFiltersSettings,
    seed: int,
) -> Trained:
    """Trains a network.

    Args:
        blocks: of each stage.
        way: what it shares.
        images: what it is trained and tested on.
        settings: see the class.
        seed: of parameters and batches.

    Returns:
        What came of it.
    """
    start: Start | None = None if way == "ordinary" else "orthonormal"
    drawn, batches = jax.random.split(jax.random.key(seed))
    model = network(blocks, start, settings, drawn)
    inputs, labels = images.train
    steps = max(1, len(labels) * settings.passes // settings.batch)
    is_held = way == "shared, penalized"
    optimizer = nnx.Optimizer(
        model, optimizer_of(settings, steps, is_held=is_held), wrt=nnx.Param
    )
    model.train()
    norms = []
    for number in range(steps):
        keys = jax.random.split(jax.random.fold_in(batches, number))
        chosen = jax.random.randint(keys[0], (settings.batch,), 0, len(labels))
        batch = augmented(inputs[chosen], keys[1], settings.side // 8)
        norms.append(step(model, optimizer, batch, labels[chosen]))
    model.eval()
    tests, answers = images.test
    parts = range(0, len(answers), AT_ONCE)
    count = sum(
        int(right(model, tests[first:][:AT_ONCE], answers[first:][:AT_ONCE]))
        for first in parts
    )
    params = nnx.state(model, nnx.Param)
    held = gs.optim.orthogonality_penalty(bases_of(params))
    return Trained(
        sum(leaf.size for leaf in jax.tree.leaves(params)),
        count / len(answers),
        float(held),
        np.asarray(norms),
    )


# The same object for every seed, so that a step is compiled once.
@cache
def optimizer_of(settings: SharedFiltersSettings, steps: int, *, is_held: bool) -> Any:
    """Makes gradient descent with momentum, its rate lowered twice.

    Args:
        settings: see the class.
        steps: how many there are.
        is_held: whether the shared bases are penalized.

    Returns:
        The transformation.
    """
    rate = optax.piecewise_constant_schedule(
        settings.rate, {steps // 2: 0.1, 3 * steps // 4: 0.1}
    )

    def shared(params: Any) -> Any:
        return nnx.map_state(lambda path, _: is_basis(path), params)

    def is_decayed(params: Any) -> Any:
        return nnx.map_state(lambda path, _: not is_basis(path), params)

    penalty = settings.penalty if is_held else 0.0
    return optax.chain(
        optax.masked(gs.optim.add_orthogonality_penalty(penalty), shared),
        optax.add_decayed_weights(settings.decay, is_decayed),
        optax.sgd(rate, settings.momentum),
    )


Gradients = Mapping[tuple[int, Start], Float[np.ndarray, "draws stages"]]
Results = Mapping[tuple[int, Way], Sequence[Trained]]


def run_shared_filters(settings: SharedFiltersSettings) -> tuple[Gradients, Results]:
    """Counts, measures and trains; prints the tables and the claims.

    Args:
        settings: they have no problems.

    Returns:
        The gradients before training of each number of blocks and start, and what came
        of each network.
    """
    images = load_images(settings)
    print("parameters of the published networks")
    print_table(
        ("network", "data", "parameters", "printed by the authors"),
        [
            (
                one.name,
                one.data,
                f"{count_parameters(one.make):,}",
                f"{one.parameters:.2f} million" if one.parameters else "-",
            )
            for one in PUBLISHED
        ],
    )
    first: dict[tuple[int, Start], np.ndarray] = {
        (blocks, start): gradients(blocks, start, images, settings)
        for blocks, start in product(settings.blocks, STARTS)
    }
    print(
        "norm of the gradient of each stage's basis before training: "
        f"median of {settings.draws} draws"
    )
    print_table(
        ("recursions", "start", *(f"stage {1 + x}" for x in range(settings.stages))),
        [
            (str(blocks - 1), start, *(f"{x:.2g}" for x in np.median(norms, axis=0)))
            for (blocks, start), norms in first.items()
        ],
    )
    found: dict[tuple[int, Way], Sequence[Trained]] = {
        (blocks, way): [
            train(blocks, way, images, settings, seed) for seed in settings.seeds
        ]
        for blocks, way in product(settings.train_blocks, WAYS)
    }
    print(
        f"after {settings.passes} passes through {len(images.train[1]):,} images: "
        f"medians of {len(settings.seeds)} seeds"
    )
    print_table(
        ("recursions", "network", "parameters", "accuracy", *HELD),
        [row(*key, many) for key, many in found.items()],
    )
    for check in shared_filters_checks(found):
        print(check)
    return first, found


def gradients(
    blocks: int, start: Start, images: Images, settings: SharedFiltersSettings
) -> Float[np.ndarray, "draws stages"]:
    """Measures the gradients of every stage's basis before training."""
    norms = []
    for seed in range(settings.draws):
        drawn, batch = jax.random.split(jax.random.key(seed))
        model = network(blocks, start, settings, drawn)
        model.train()
        chosen = jax.random.randint(batch, (settings.batch,), 0, len(images.train[1]))
        norms.append(first_gradients(model, *(part[chosen] for part in images.train)))
    return np.asarray(norms)


HELD = "‖BᵀB - I‖² per entry", "gradient of the bases, first and last tenth"


def row(blocks: int, way: Way, found: Sequence[Trained]) -> tuple[str, ...]:
    """Words a line of the third table."""
    accuracy = float(np.median([one.accuracy for one in found]))
    held = "-", "-"
    if way != "ordinary":
        penalty = np.median([one.penalty for one in found])
        tenth = max(1, len(found[0].gradients) // 10)
        early, late = (
            np.median([one.gradients[part] for one in found])
            for part in (slice(tenth), slice(-tenth, None))
        )
        held = f"{penalty:.1e}", f"{early:.2g}, {late:.2g}"
    return str(blocks - 1), way, f"{found[0].parameters:,}", f"{accuracy:.3f}", *held


def shared_filters_checks(found: Results) -> Sequence[Check]:
    """Tests that the penalty holds the bases, whatever the number of recursions."""
    pairs = [
        (
            max(one.penalty for one in found[blocks, "shared, penalized"]),
            min(one.penalty for one in found[blocks, "shared"]),
        )
        for blocks in sorted({blocks for blocks, _ in found})
    ]
    return [
        Check(
            "the penalty holds the bases nearer to orthonormal than training alone",
            all(held < free for held, free in pairs),
            ", ".join(f"{held:.1e} against {free:.1e}" for held, free in pairs),
        )
    ]
