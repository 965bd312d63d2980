"""A network that reads digits of two domains, and its losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.two_domains import Batch

DIGITS = 10
STAGES = 3


@dataclass(frozen=True)
class Variant:
    """What the network has beside its three stages.

    Attributes:
        reverses: whether the domain losses reach the stages.
        has_context: whether the answer reads the context of every stage.
        detaches: whether that context is detached from it.
    """

    reverses: bool
    has_context: bool
    detaches: bool = True


class DigitReader(nnx.Module):
    """Three stages, what complements them, and a read-out.

    Args:
        side: pixels a side of an image.
        features: channels of the first stage.
        variant: see the class.
        rngs: source of the `params` keys.
    """

    def __init__(self, side: int, features: int, variant: Variant, *, rngs: nnx.Rngs):
        widths = features, 2 * features, 2 * features

        def conv(before: int, after: int, strides: int = 1) -> nnx.Conv:
            return nnx.Conv(before, after, (3, 3), strides=strides, rngs=rngs)

        def head(width: int) -> nnx.Sequential:
            return nnx.Sequential(
                conv(width, width, 2),
                jax.nn.relu,
                pooled,
                nnx.Linear(width, 1, rngs=rngs),
            )

        self.stages = nnx.List([
            nnx.Sequential(conv(before, after, strides), jax.nn.relu)
            for before, after, strides in zip(
                (1, *widths), widths, (1, 2, 2), strict=False
            )
        ])
        # The first head answers for every position.
        first = nnx.Sequential(
            nnx.Conv(features, features, (1, 1), rngs=rngs),
            jax.nn.relu,
            nnx.Conv(features, 1, (1, 1), rngs=rngs),
        )
        contexts = [
            nnx.Sequential(conv(width, features), jax.nn.relu, pooled)
            for width in widths
        ]
        self.complement = gs.nn.StackedComplementaryLosses(
            [first, *map(head, widths[1:])],
            contexts=contexts if variant.has_context else (),
            detaches=variant.detaches,
        )
        small = -(-side // 4)
        vector = 4 * features
        self.vector = nnx.Linear(small**2 * widths[-1], vector, rngs=rngs)
        read = vector + STAGES * features * variant.has_context
        self.readout = nnx.Linear(read, DIGITS, rngs=rngs)
        self.instance_head = nnx.Sequential(
            nnx.Linear(read, vector, rngs=rngs),
            jax.nn.relu,
            nnx.Linear(vector, 1, rngs=rngs),
        )

    def features(self, images: Array, first: int = 0) -> list[Array]:
        """Lists what the stages from `first` on give, each to the next."""
        found = []
        for stage in list(self.stages)[first:]:
            images = stage(images)
            found.append(images)
        return found

    def read(self, features: Sequence[Array], context: Array) -> Array:
        """Puts the vector of the last stage behind the context."""
        flat = features[-1].reshape(len(context), -1)
        return jnp.concatenate([context, jax.nn.relu(self.vector(flat))], axis=-1)

    def __call__(self, images: Array) -> Float[Array, "batch digits"]:
        """Answers for each image."""
        features = self.features(images)
        return self.readout(self.read(features, self.complement.context(features)))


def pooled(images: Float[Array, "batch height width features"]) -> Array:
    """Takes the mean over all positions."""
    return jnp.mean(images, axis=(1, 2))


def losses(
    model: DigitReader,
    features: Sequence[Array],
    batch: Batch,
    strength: Array | float,
    *,
    context_only: bool = False,
) -> Float[Array, " 2"]:
    """Computes the loss of the task and that of the domains.

    Args:
        model: what is trained.
        features: what its stages give.
        batch: what they were given.
        strength: of the reversed gradients.
        context_only: whether the features are constants but for what the context
            networks read.

    Returns:
        The mean cross-entropy of the images with labels, and the sum of all domain
        losses.
    """
    rest = gs.gradients.detach(features) if context_only else features
    found = model.complement(rest, batch.is_target, strength)
    read = model.read(rest, model.complement.context(features))
    entropy = optax.softmax_cross_entropy_with_integer_labels(
        model.readout(read), batch.labels
    )
    labeled = jnp.where(batch.is_target, 0.0, entropy)
    logits = model.instance_head(gs.gradients.reverse_gradient(read, strength))
    instance = gs.nn.focal_domain_loss(logits, batch.is_target)
    task = jnp.sum(labeled) / jnp.sum(~batch.is_target)
    return jnp.stack([task, jnp.sum(found.losses) + instance])
