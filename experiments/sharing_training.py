"""Gradients of the filters that a network shares, and what comes of training it."""

from functools import cache
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

import gradstab as gs
from experiments.shared_basis import ResNet
from experiments.sharing_network import (
    SharedFiltersSettings,
    Start,
    bases_of,
    is_basis,
    network,
)
from experiments.small_cifar10 import Images, augmented

AT_ONCE = 250  # images that are tested together
Way = Literal["ordinary", "shared, penalized", "shared"]
WAYS: tuple[Way, ...] = get_args(Way)


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


@nnx.jit
def step(
    model: ResNet, optimizer: nnx.Optimizer, images: Array, labels: Array
) -> Float[Array, ""]:
    """Takes a training step; returns the norm of the gradient of all shared bases."""
    gradient = nnx.grad(loss_of)(model, images, labels)
    optimizer.update(model, gradient)
    # Of the cross-entropy alone: the penalty's is added by the optimizer.
    return optax.tree.norm(bases_of(gradient))


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
