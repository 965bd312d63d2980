"""Digits in fog, read without their labels: `python -m experiments domain_adaptation`.

Shen, Maheshwari, Yao & Savvides ("SCL: Towards Accurate Domain Adaptive Object
Detection via Gradient Detach Based Stacked Complementary Losses", 2019,
arXiv:1911.02559) train a detector on labeled clear images and unlabeled images of
another domain. At every stage a head tells the domains apart, whose reversed gradient
(Ganin et al., JMLR 2016) makes the stage forget them; context networks read every
stage, and their gradient is detached from it.

Here a network of three stages names digits: clear ones with labels, and those of the
other domain, fogged or inverted, without. The first table is the test accuracy in both
domains of five variants. The second is how the gradient of the task lies to that of the
reversed domain losses at the features of each stage, the mean cosine over training:
below 0 each undoes the other.

What came out, in fog: no variant is told from another. Read without labels, the median
accuracy is 0.683 of the source alone, 0.639 with the reversal, 0.633 with context too,
0.664 with that detached, and 0.694 without reversal, where the seeds of one variant lie
0.23 to 0.26 apart; on clear digits all have 0.96 or 0.97. The two gradients are at
right angles, their cosines within 0.01 of 0 at every stage. What detaching removes from
the stages' gradient, 0.22 of its norm, is the branch through the context to 2.8e-7.

What differs: their detector has regions and boxes, ours one vector for an image. Their
third loss and that of the instances have γ = 5, as here. The strength of the reversal
grows with training as in Ganin et al.; theirs is constant, on a pretrained network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.digit_reader import STAGES, DigitReader, Variant, losses
from experiments.experiment import Check
from experiments.limits import Limited
from experiments.table import print_table, spread
from experiments.two_domains import Batch, Domains, Shift, draw, load_domains

GAMMA = 10.0  # of the strength's growth, in Ganin et al.


@dataclass(frozen=True)
class DomainAdaptationSettings(Limited):
    """Digits of two domains, the labels of one.

    Attributes:
        data_dir: folder with MNIST's four files, read at 14×14 pixels; without, the
            digits of 8×8 pixels that come with scikit-learn are.
        shift: what makes the other domain.
        images: training images of each domain, at most.
        features: channels of the first stage; the others have twice as many.
        strength: of the reversed gradient at the end.
        rate: learning rate of Adam.
        batch: images of each domain in a training step.
        steps: training steps.
        measure_every: steps between two measurements of the gradients.
        seeds: one network each.
    """

    data_dir: Path | None = None
    shift: Shift = "fog"
    images: int = 2000
    features: int = 16
    strength: float = 0.1
    rate: float = 1e-3
    batch: int = 64
    steps: int = 800
    measure_every: int = 50
    seeds: tuple[int, ...] = (0, 1, 2)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "images", "features", "batch", "steps", "measure_every")
        found += self.below(0, "strength")
        if self.measure_every > self.steps:
            found.append("--measure-every must be at most --steps.")
        return found + self.not_positive("rate") + self.not_seeds("seeds")


VARIANTS = {
    "source alone": Variant(False, False),
    "reversal": Variant(True, False),
    "reversal, context": Variant(True, True, detaches=False),
    "reversal, detached context": Variant(True, True),
    "detached context": Variant(False, True),
}


@nnx.jit
def step(
    model: DigitReader, optimizer: nnx.Optimizer, batch: Batch, strength: Array
) -> None:
    """Takes a training step."""

    def loss(model: DigitReader) -> Array:
        features = model.features(batch.images)
        return jnp.sum(losses(model, features, batch, strength))

    optimizer.update(model, nnx.grad(loss)(model))


@nnx.jit
def conflicts(model: DigitReader, batch: Batch) -> Float[Array, " stages"]:
    """Measures the cosine of task and reversed domain losses at every stage."""
    features = model.features(batch.images)

    def loss(which: int, stage: int, at: Array) -> Array:
        later = model.features(at, stage + 1)
        return losses(model, [*features[:stage], at, *later], batch, 1.0)[which]

    found = [
        gs.diagnostics.gradient_conflict(
            partial(loss, 0, stage), partial(loss, 1, stage), features[stage]
        )
        for stage in range(STAGES)
    ]
    return jnp.stack([one.cosine for one in found])


@nnx.jit
def accuracy(model: DigitReader, images: Array, labels: Array) -> Float[Array, ""]:
    """Measures the share of images that are named."""
    return jnp.mean(jnp.where(jnp.argmax(model(images), -1) == labels, 1.0, 0.0))


def branch_error(
    domains: Domains, settings: DomainAdaptationSettings
) -> tuple[float, float]:
    """Holds what detaching removes to the gradient through the context alone.

    Args:
        domains: what is read.
        settings: see the class.

    Returns:
        The norm of what is left of the difference, and that of the difference, both
        over the norm of the stages' gradient.
    """
    batch = draw(domains, jax.random.key(0), settings.batch)
    side = batch.images.shape[1]

    def gradient(detaches: bool, context_only: bool = False) -> Any:
        variant = Variant(True, True, detaches)
        model = DigitReader(side, settings.features, variant, rngs=nnx.Rngs(0))

        def loss(model: DigitReader) -> Array:
            features = model.features(batch.images)
            found = losses(model, features, batch, 1.0, context_only=context_only)
            return jnp.sum(found)

        return nnx.grad(loss)(model)["stages"]

    kept, whole, branch = gradient(True), gradient(False), gradient(False, True)
    removed = optax.tree.sub(whole, kept)
    scale = float(optax.tree.norm(whole))
    left = float(optax.tree.norm(optax.tree.sub(removed, branch)))
    return left / scale, float(optax.tree.norm(removed)) / scale


class Trained(NamedTuple):
    """What came of one network a seed.

    Attributes:
        source: test accuracy on clear digits.
        target: on those of the other domain.
        cosines: mean cosine of the two gradients at every stage.
    """

    source: Float[np.ndarray, " seeds"]
    target: Float[np.ndarray, " seeds"]
    cosines: Float[np.ndarray, "seeds stages"]


def train(
    variant: Variant, domains: Domains, settings: DomainAdaptationSettings
) -> Trained:
    """Trains a network for each seed.

    Args:
        variant: what it has.
        domains: what it is trained and tested on.
        settings: see the class.

    Returns:
        What came of it.
    """
    # The same object for every seed, so that a step is compiled once.
    adam = optax.adam(settings.rate)

    def one(seed: int) -> tuple[Any, Any, Any]:
        drawn, batches = jax.random.split(jax.random.key(seed))
        side = domains.source.images.shape[1]
        model = DigitReader(side, settings.features, variant, rngs=nnx.Rngs(drawn))
        optimizer = nnx.Optimizer(model, adam, wrt=nnx.Param)
        cosines = []
        for number in range(settings.steps):
            key = jax.random.fold_in(batches, number)
            batch = draw(domains, key, settings.batch)
            grown = 2 / (1 + np.exp(-GAMMA * number / settings.steps)) - 1
            strength = settings.strength * grown * variant.reverses
            step(model, optimizer, batch, jnp.asarray(strength, jnp.float32))
            if (number + 1) % settings.measure_every == 0:
                cosines.append(conflicts(model, batch))
        return (
            float(accuracy(model, *domains.source_test)),
            float(accuracy(model, *domains.target_test)),
            np.mean(cosines, axis=0),
        )

    found = zip(*map(one, settings.seeds), strict=True)
    return Trained(*map(np.asarray, found))


def run_domain_adaptation(settings: DomainAdaptationSettings) -> Mapping[str, Trained]:
    """Trains every variant; prints the tables and the claim.

    Args:
        settings: they have no problems.

    Returns:
        What came of each variant.
    """
    domains = load_domains(settings.data_dir, settings.shift, settings.images)
    found = {
        name: train(variant, domains, settings) for name, variant in VARIANTS.items()
    }
    print(
        f"{len(domains.source[1]):,} clear digits with labels and as many others "
        f"({settings.shift}) without, {settings.steps:,} steps: test accuracy, median "
        f"(lowest .. highest) of {len(settings.seeds)} seeds"
    )
    print_table(
        ("variant", "clear", settings.shift),
        [(name, spread(one.source), spread(one.target)) for name, one in found.items()],
    )
    print(
        "cosine of the gradients of the task and of the reversed domain losses, median"
    )
    print_table(
        ("variant", *(f"stage {1 + stage}" for stage in range(STAGES))),
        [
            (name, *(f"{x:+.3f}" for x in np.median(one.cosines, axis=0)))
            for name, one in found.items()
        ],
    )
    for check in domain_adaptation_checks(*branch_error(domains, settings)):
        print(check)
    return found


def domain_adaptation_checks(left: float, removed: float) -> Sequence[Check]:
    """Tests that detaching removes the branch through the context and nothing else."""
    return [
        Check(
            "the gradient of the stages changes by the branch that is detached alone",
            left < 1e-5 < removed,
            f"what is left is {left:.1e} of it, the branch {removed:.2g}",
        )
    ]
