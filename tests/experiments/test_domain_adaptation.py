import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import two_domains
from experiments.__main__ import main
from experiments.data.images import ImageSplits, LabeledImages
from experiments.digit_reader import DigitReader, Variant, losses
from experiments.domain_adaptation import (
    VARIANTS,
    DomainAdaptationSettings,
    branch_error,
    conflicts,
    domain_adaptation_checks,
)
from experiments.two_domains import (
    THICKEST,
    THINNEST,
    draw,
    load_domains,
    shifted,
)

SMALL = DomainAdaptationSettings(features=2, batch=4)


@pytest.fixture(scope="module")
def domains():
    return load_domains(None, "fog", 20)


@pytest.fixture(scope="module")
def batch(domains):
    return draw(domains, jax.random.key(0), 4)


def test_no_digit_is_in_both_domains(domains):
    assert domains.source.images.shape == domains.target.images.shape == (20, 8, 8, 1)
    clear = load_domains(None, "invert", 20)
    seen = {np.asarray(one).tobytes() for one in clear.source.images}
    assert not seen & {np.asarray(1 - one).tobytes() for one in clear.target.images}
    np.testing.assert_array_equal(
        domains.source_test.labels, domains.target_test.labels
    )


def test_fog_is_white_and_denser_along_a_direction():
    black = jnp.zeros((50, 8, 8, 1))
    found = np.asarray(shifted(black, "fog", jax.random.key(0)))[..., 0]
    assert THINNEST - 1e-6 <= found.min() < 0.15
    assert THICKEST + 1e-6 >= found.max() > 0.65
    steps = np.diff(found, axis=1)
    np.testing.assert_allclose(steps, steps[:, :1, :1] * np.ones((1, 7, 8)), atol=1e-5)
    white = shifted(black + 1, "fog", jax.random.key(0))
    np.testing.assert_allclose(white, 1, rtol=1e-6)


def test_inverts():
    images = jnp.array([0.0, 0.25, 1.0]).reshape(3, 1, 1, 1)
    found = shifted(images, "invert", jax.random.key(0))
    np.testing.assert_allclose(found.ravel(), [1, 0.75, 0])


def test_mnist_is_averaged(monkeypatch, tmp_path):
    images = np.arange(6 * 784, dtype=np.int64).reshape(6, 28, 28) % 256
    part = LabeledImages(images.astype(np.uint8), np.arange(6, dtype=np.int32))
    splits = ImageSplits(part, part, part)
    monkeypatch.setattr(two_domains, "load_mnist", lambda folder: splits)
    found = load_domains(tmp_path, "invert", 2)
    expected = images[1, 4:6, 8:10].mean() / 255
    np.testing.assert_allclose(found.source.images[1, 2, 4, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(found.source.labels, [0, 1])
    np.testing.assert_array_equal(found.target.labels, [2, 3])


def test_a_batch_has_as_many_of_each_domain(domains, batch):
    np.testing.assert_array_equal(batch.is_target, np.arange(8) >= 4)
    known = {np.asarray(one).tobytes() for one in domains.target.images}
    assert {np.asarray(one).tobytes() for one in batch.images[4:]} <= known


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_task_does_not_see_the_labels_of_the_other_domain(variant, batch):
    model = DigitReader(8, 2, variant, rngs=nnx.Rngs(0))
    assert model(batch.images).shape == (8, 10)

    def measure(labels):
        return losses(
            model, model.features(batch.images), batch._replace(labels=labels), 1.0
        )

    others = jnp.where(batch.is_target, (batch.labels + 1) % 10, batch.labels)
    np.testing.assert_array_equal(measure(others), measure(batch.labels))
    changed = measure((batch.labels + 1) % 10)
    assert changed[0] != measure(batch.labels)[0]


def test_without_reversal_the_stages_see_the_task_alone(batch):
    model = DigitReader(8, 2, VARIANTS["source alone"], rngs=nnx.Rngs(0))

    def gradient(which):
        def loss(model):
            features = model.features(batch.images)
            return losses(model, features, batch, 0.0)[which]

        return nnx.grad(loss)(model)

    assert all(jnp.all(x == 0) for x in jax.tree.leaves(gradient(1)["stages"]))
    assert any(jnp.any(x != 0) for x in jax.tree.leaves(gradient(0)["stages"]))


def test_the_cosines_are_those_at_every_stage(batch):
    model = DigitReader(8, 2, Variant(True, True), rngs=nnx.Rngs(0))
    features = model.features(batch.images)

    def through(which, stage):
        def loss(change):
            moved = list(features)
            moved[stage] = features[stage] + change
            for later in range(stage + 1, 3):
                moved[later] = model.stages[later](moved[later - 1])
            return losses(model, moved, batch, 1.0)[which]

        return np.ravel(jax.grad(loss)(jnp.zeros_like(features[stage])))

    found = conflicts(model, batch)
    for stage in range(3):
        one, other = (through(which, stage) for which in (0, 1))
        expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        np.testing.assert_allclose(found[stage], expected, atol=1e-5)


def test_detaching_removes_its_branch(domains):
    left, removed = branch_error(domains, SMALL)
    assert left < 1e-5
    assert removed > 1e-2


@pytest.mark.parametrize(
    ("left", "removed", "met"), [(1e-7, 0.2, True), (1e-3, 0.2, False), (0, 0, False)]
)
def test_judges(left, removed, met):
    (check,) = domain_adaptation_checks(left, removed)
    assert check.met == met


@pytest.mark.slow
def test_prints_both_tables(capsys):
    tiny = ["--features", "2", "--batch", "4", "--steps", "2", "--seeds", "0"]
    assert main(["domain_adaptation", *tiny, "--measure-every", "1"]) == 0
    printed = capsys.readouterr().out
    assert "538 clear digits" in printed
    assert printed.count("reversal, detached context") == 2
    assert "met: the gradient of the stages" in printed


def test_refuses(capsys):
    assert main(["domain_adaptation", "--rate", "0", "--measure-every", "801"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    settings = dataclasses.replace(SMALL, strength=-1.0, seeds=())
    assert len(settings.problems()) == 2
