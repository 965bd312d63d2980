from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from experiments import shared_filters, small_cifar10
from experiments.__main__ import main
from experiments.data.images import ImageSplits, LabeledImages
from experiments.shared_filters import shared_filters_checks
from experiments.sharing_network import (
    STARTS,
    SharedFiltersSettings,
    bases_of,
    network,
)
from experiments.sharing_training import Trained, gradients, optimizer_of
from experiments.small_cifar10 import augmented, load_images

SMALL = SharedFiltersSettings(side=8, stages=1, features=2, batch=4, draws=1)
KEY = jax.random.key(0)


@pytest.fixture
def splits(monkeypatch):
    rng = np.random.default_rng(0)

    def make(count):
        return LabeledImages(
            rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
            rng.integers(0, 10, count).astype(np.int32),
        )

    found = ImageSplits(make(12), make(2), make(5))
    monkeypatch.setattr(small_cifar10, "load_cifar10", lambda folder: found)
    return found


def test_images_are_averaged_and_scaled_as_the_training_set(splits):
    images = load_images(None, 0, 8)
    train, test = images.train[0], images.test[0]
    assert train.shape == (12, 8, 8, 3)
    np.testing.assert_allclose(np.mean(train, (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(train, (0, 1, 2)), 1, rtol=1e-5)
    block = splits.test.images[3, 4:8, 8:12].mean(axis=(0, 1))
    other = splits.test.images[3, :4, :4].mean(axis=(0, 1))
    whole = splits.train.images.reshape(12, 8, 4, 8, 4, 3).mean(axis=(2, 4))
    expected = (block - other) / whole.std(axis=(0, 1, 2))
    np.testing.assert_allclose(test[3, 1, 2] - test[3, 0, 0], expected, rtol=1e-4)
    np.testing.assert_array_equal(images.test[1], splits.test.labels)


def test_the_sample_is_read_where_it_is(tmp_path, monkeypatch, splits):
    (tmp_path / "cifar10_sample.npz").touch()
    part = splits._replace(train=LabeledImages(*(x[:3] for x in splits.train)))
    monkeypatch.setattr(small_cifar10, "load_cifar10_sample", lambda folder: part)
    images, labels = load_images(tmp_path, 0, 32).train
    assert images.shape == (3, 32, 32, 3)
    assert labels.shape == (3,)


def test_augmentation_moves_and_mirrors():
    image = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
    images = jnp.broadcast_to(image, (200, 4, 4, 1))
    found = np.asarray(augmented(images, jax.random.key(0), 1))[..., 0]
    padded = np.pad(np.asarray(image[0, ..., 0]), 1)
    cuts = [padded[i:, j:][:4, :4] for i in range(3) for j in range(3)]
    wanted = {x.tobytes() for one in cuts for x in (one, one[:, ::-1].copy())}
    assert {one.tobytes() for one in found} == wanted


@pytest.mark.parametrize("start", STARTS)
def test_starts(start):
    settings = SharedFiltersSettings(stages=2, features=16)
    model = network(2, start, settings, KEY)
    bases = bases_of(nnx.state(model, nnx.Param))
    assert len(bases) == 2
    defect = gs.optim.orthogonality_penalty(bases)
    assert (defect < 1e-12) == (start == "orthonormal")
    # Of 32 filters of 9 · 32 weights; He's have a variance of 2 / (9 · 32).
    found = float(optax.tree.norm(bases[1]))
    squared = 32 * (2 if start == "he" else 1)
    assert found == pytest.approx(squared**0.5, rel=0.05)


def test_an_ordinary_network_shares_nothing():
    model = network(2, None, SMALL, KEY)
    assert bases_of(nnx.state(model, nnx.Param)) == []


def test_weight_decay_spares_the_bases():
    model = network(2, "orthonormal", SMALL, KEY)
    params = nnx.state(model, nnx.Param)
    optimizer = optimizer_of(SMALL, 4, is_held=False)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    assert optax.tree.norm(bases_of(updates)) == 0
    assert optax.tree.norm(updates) > 0


def test_the_gradient_of_each_stage(splits):
    del splits
    images = load_images(None, 0, 8)
    found = gradients(2, "he", images, SMALL)
    assert found.shape == (1, 1)
    drawn, batch = jax.random.split(KEY)
    model = network(2, "he", SMALL, drawn)
    chosen = jax.random.randint(batch, (4,), 0, 12)
    inputs, labels = (part[chosen] for part in images.train)

    def loss(model):
        losses = optax.softmax_cross_entropy_with_integer_labels(model(inputs), labels)
        return jnp.mean(losses)

    gradient: Any = nnx.jit(nnx.grad(loss))(model)
    for stage, norm in enumerate(found[0]):
        basis = gradient["stages"][stage]["layers"][1]["bases"][0]["weight"][...]
        np.testing.assert_allclose(norm, jnp.linalg.norm(basis), rtol=1e-3)


@pytest.mark.parametrize(("free", "met"), [(0.1, True), (1e-5, False)])
def test_judges(free, met):
    def trained(penalty):
        return [Trained(1, 0.5, penalty, np.ones(3))]

    found: Any = {
        (2, "ordinary"): trained(0.0),
        (2, "shared, penalized"): trained(1e-4),
        (2, "shared"): trained(free),
    }
    (check,) = shared_filters_checks(found)
    assert check.met == met


@pytest.mark.slow
def test_prints_its_tables(splits, capsys, monkeypatch):
    del splits
    monkeypatch.setattr(shared_filters, "PUBLISHED", shared_filters.PUBLISHED[:1])
    tiny = ["--side", "8", "--stages", "1", "--features", "2", "--blocks", "2"]
    tiny += ["--train-blocks", "2", "--batch", "4"]
    assert main(["shared_filters", *tiny, "--passes", "1", "--draws", "1"]) == 0
    printed = capsys.readouterr().out
    assert "21,328,292" in printed
    assert "median of 1 draws" in printed
    assert "after 1 passes through 12 images" in printed
    assert "the penalty holds the bases" in printed


def test_refuses(capsys):
    wrong = ["--side", "5", "--blocks", "1", "--rate", "0", "--passes", "0"]
    assert main(["shared_filters", *wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4
