import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.digit_classifier import (
    Digits,
    accuracy,
    cross_entropy,
    draw,
    load,
    minibatch_loss,
    undecided,
)


def check_images(part):
    """Around 0, of about the length for which rates are set."""
    assert part.images.dtype == jnp.float32
    lengths = jnp.linalg.norm(part.images, axis=1)
    assert 5 < float(jnp.mean(lengths)) < 10
    assert abs(float(jnp.mean(part.images))) < 0.5


def test_small_images():
    train, test = load(None, 1_000)
    assert train.images.shape == (1_000, 64)
    assert test.images.shape == (360, 64)
    check_images(train)
    check_images(test)


@pytest.mark.real_data
def test_mnist(published):
    pytest.importorskip("tensorflow_datasets")
    train, test = load(published / "mnist", 2_000)
    assert train.images.shape == (2_000, 784)
    assert test.images.shape == (10_000, 784)
    check_images(train)
    check_images(test)


def test_an_undecided_classifier_guesses():
    digits = Digits(jnp.eye(10), jnp.arange(10))
    params = undecided(10)
    assert float(cross_entropy(params, digits)) == pytest.approx(np.log(10))
    params["layer 1"]["kernel"] = jnp.eye(10)
    assert float(accuracy(params, digits)) == 1


def test_steps_read_all_whole_minibatches_in_turn():
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(8, 5)), jnp.float32)
    digits = Digits(images, jnp.arange(8))
    params = draw((5, 4, 10), jax.random.key(0))
    loss = minibatch_loss(3)
    for step, rows in enumerate([slice(0, 3), slice(3, 6), slice(0, 3)]):
        expected = cross_entropy(params, Digits(*(part[rows] for part in digits)))
        assert float(loss(params, digits, jnp.asarray(step))) == pytest.approx(
            float(expected)
        )
