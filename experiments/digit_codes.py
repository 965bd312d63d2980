"""Codes of digits: an encoder's, or where a decoder's gradient flow ends."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.data import load_digits, load_mnist
from experiments.data.images import averaged
from experiments.limits import Limited

Way = Literal["autoencoder", "truncated", "full"]
WAYS: tuple[Way, ...] = get_args(Way)
Images = Float[Array, "count pixels"]


@dataclass(frozen=True)
class GradientFlowEncodingSettings(Limited):
    """Gradient-flow encoding of digits against an autoencoder.

    Attributes:
        data_dir: folder with MNIST's four files, whose images are halved to 14×14; the
            8×8 digits of scikit-learn if None.
        train_images: how many images there are to train on.
        test_images: how many of the test set are used, at most, the first.
        code_features: length of a code.
        width: of the hidden layer of the decoder, and of the autoencoder's encoder.
        tries: steps of the flow that are tried for a code, at most.
        rate: learning rate of RMSprop.
        batch: images in a training step.
        steps: training steps.
        measure_every: steps between two measurements.
        seeds: one network each.
        figure: where curves and reconstructions are drawn, without the ending.
    """

    data_dir: Path | None = None
    train_images: tuple[int, ...] = (100, 1000)
    test_images: int = 1000
    code_features: int = 8
    width: int = 64
    tries: int = 60
    rate: float = 2e-3
    batch: int = 20
    steps: int = 2000
    measure_every: int = 200
    seeds: tuple[int, ...] = (0, 1, 2)
    figure: Path = Path("runs/gradient_flow_encoding")

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        counts = "test_images", "code_features", "width", "tries", "batch"
        found = self.below(1, *counts, "steps", "measure_every")
        most = 1_077 if self.data_dir is None else 55_000
        if not all(1 <= count <= most for count in self.train_images or (0,)):
            found.append(
                f"--train-images must lie between 1 and {most:,}, one or more."
            )
        if self.steps % max(self.measure_every, 1):
            found.append("--steps must be a multiple of --measure-every.")
        return found + self.not_positive("rate") + self.not_seeds("seeds")


def load_images(settings: GradientFlowEncodingSettings) -> tuple[Images, Images]:
    """Loads images to train and to test on, a row each, of numbers in [0, 1]."""
    if settings.data_dir is None:
        digits = load_digits()
        train, test = (
            (part[0][..., 0] + 1) / 2 for part in (digits.train, digits.test)
        )
    else:
        splits = load_mnist(settings.data_dir)
        train, test = (
            averaged(part.images[:count], 2)
            for part, count in (
                (splits.train, max(settings.train_images)),
                (splits.test, settings.test_images),
            )
        )

    def rows(part: np.ndarray) -> Images:
        return jnp.asarray(part.reshape(len(part), -1), jnp.float32)

    return rows(train), rows(test[: settings.test_images])


def entropy(logits: Float[Array, " pixels"], image: Float[Array, " pixels"]) -> Array:
    """Computes the cross-entropy of an image of gray pixels, in nats per pixel."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, image))


def least(images: Images) -> float:
    """Computes the entropy of gray pixels, below which no cross-entropy can fall."""
    white = np.clip(np.asarray(images, np.float64), 1e-12, 1 - 1e-12)
    black = 1 - white
    return float(-np.mean(white * np.log(white) + black * np.log(black)))


class Mlp(nnx.Module):
    """A hidden layer of ELUs.

    Args:
        sizes: of the input, the hidden layer and the output.
        rngs: source of the `params` keys.
    """

    def __init__(self, sizes: tuple[int, int, int], *, rngs: nnx.Rngs):
        self.first = nnx.Linear(*sizes[:2], rngs=rngs)
        self.second = nnx.Linear(*sizes[1:], rngs=rngs)

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Applies it."""
        return self.second(jax.nn.elu(self.first(x)))


class Autoencoder(nnx.Module):
    """A decoder with its mirror image before it.

    Args:
        decoder: from codes to logits.
        encoder: from images to codes.
    """

    def __init__(self, decoder: Mlp, encoder: Mlp):
        self.decoder = decoder
        self.encoder = encoder

    def __call__(self, images: Images) -> Float[Array, "count code"]:
        """Encodes images."""
        return self.encoder(images)

    def loss(self, images: Images) -> Float[Array, " count"]:
        """Computes the cross-entropy of each."""
        return jax.vmap(entropy)(self.decoder(self(images)), images)


def make(
    way: Way, pixels: int, settings: GradientFlowEncodingSettings, rngs: nnx.Rngs
) -> Any:
    """Makes a model; its decoder is the same whatever the way, for the same keys."""
    code, width = settings.code_features, settings.width
    decoder = Mlp((code, width, pixels), rngs=rngs)
    if way == "autoencoder":
        return Autoencoder(decoder, Mlp((pixels, width, code), rngs=rngs))
    return flow_of(decoder, settings, way)


def flow_of(
    decoder: Mlp,
    settings: GradientFlowEncodingSettings,
    adjoint: Literal["truncated", "full"] = "truncated",
) -> gs.dynamics.GradientFlowEncoder:
    """Makes the encoder that belongs to a decoder."""
    return gs.dynamics.GradientFlowEncoder(
        decoder,
        entropy,
        code_features=settings.code_features,
        descent=gs.dynamics.MinimizeDistance(max_steps=settings.tries),
        adjoint=adjoint,
    )
