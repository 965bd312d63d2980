import dataclasses
import json
import signal
from functools import partial

import jax
import numpy as np
import pytest

from experiments import pace, pixel_mnist
from experiments.data import LabeledImages, load_mnist
from experiments.data.images import ImageSplits
from experiments.interruption import InterruptedRunError, interruptible
from experiments.pixel_mnist import PRESETS, PixelMnistSettings, pixel_mnist_task
from experiments.run import run_experiment
from experiments.run_directory import RunDirectory
from experiments.training import train

SMALL = PixelMnistSettings(
    train_images=30, validation_images=20, test_images=20, batch=4
)


@pytest.fixture
def images(monkeypatch):
    """Images whose pixel number p is (p + image) % 256, and their splits."""
    rng = np.random.default_rng(0)

    def make(count):
        pixels = (np.arange(784) + np.arange(count)[:, None]) % 256
        labels = rng.integers(0, 10, count).astype(np.int32)
        return LabeledImages(pixels.reshape(count, 28, 28).astype(np.uint8), labels)

    splits = ImageSplits(make(40), make(25), make(25))
    monkeypatch.setattr(pixel_mnist, "load_mnist", lambda data_dir: splits)
    return splits


def test_reads_rows_or_pixels(images):
    pixels, _ = pixel_mnist_task(SMALL).test
    rows, labels = pixel_mnist_task(dataclasses.replace(SMALL, read="rows")).test
    assert pixels.shape == (20, 784, 1)
    assert rows.shape == (20, 28, 28)
    np.testing.assert_array_equal(rows.reshape(pixels.shape), pixels)
    np.testing.assert_array_equal(np.round(pixels[3, :5, 0] * 255), [3, 4, 5, 6, 7])
    np.testing.assert_array_equal(labels, images.test.labels[:20])


def test_one_order_of_pixels_for_every_part_and_batch(images):
    task = pixel_mnist_task(dataclasses.replace(SMALL, permuted=True))
    order = task.noted["order_of_pixels"]
    batch = task.draw(jax.random.key(0), task.train)
    for inputs, part in [
        (task.validation[0], images.validation),
        (task.test[0], images.test),
    ]:
        flat = part.images[:20].reshape(20, 784)
        np.testing.assert_allclose(inputs[..., 0] * 255, flat[:, order], atol=1e-3)
    first = np.round(batch[0][:, order.index(0), 0] * 255).astype(int)
    flat = images.train.images.reshape(40, 784)
    np.testing.assert_allclose(batch[0][..., 0] * 255, flat[first][:, order], atol=1e-3)


@pytest.mark.usefixtures("images")
def test_the_order_of_pixels_is_that_of_its_seed_alone():
    def order(**settings):
        task = pixel_mnist_task(dataclasses.replace(SMALL, permuted=True, **settings))
        return task.noted["order_of_pixels"]

    assert sorted(order()) == list(range(784))
    assert order() != sorted(order())
    assert order() == order(seeds=(5,))
    assert order() != order(permutation_seed=SMALL.permutation_seed + 1)


@pytest.mark.slow
@pytest.mark.usefixtures("images")
def test_a_run_notes_its_order_of_pixels(tmp_path):
    settings = dataclasses.replace(
        SMALL,
        methods=("rnn",),
        hidden=4,
        read="rows",
        permuted=True,
        permutation_seed=3,
        steps=2,
        evaluate_every=1,
        runs=tmp_path,
    )
    run_experiment(settings)
    noted = json.loads((tmp_path / "pixel_mnist" / "run.json").read_text())
    order = np.random.default_rng(3).permutation(784).tolist()
    assert noted["order_of_pixels"] == order


def test_draws_from_the_images_named_alone(images):
    task = pixel_mnist_task(dataclasses.replace(SMALL, train_images=3, batch=200))
    inputs, _ = task.draw(jax.random.key(1), task.train)
    assert set(np.round(inputs[:, 0, 0] * 255).tolist()) == {0, 1, 2}


def test_the_paper_preset_is_the_whole_budget(images):
    assert PRESETS["paper"].steps * PRESETS["paper"].batch == 70 * 55_000
    assert pixel_mnist_task(PRESETS["paper"]).budget.startswith("100%")


def test_names_counts_that_are_not_there():
    settings = dataclasses.replace(SMALL, train_images=0, test_images=10_001)
    assert settings.problems() == [
        "--train-images must lie between 1 and 55,000, got 0.",
        "--test-images must lie between 1 and 10,000, got 10001.",
    ]


@pytest.fixture
def on_disk(images, monkeypatch):
    """The same images as examples to index."""
    part = images.train
    examples = [
        {"image": image[..., None], "label": label}
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    monkeypatch.setattr(pixel_mnist, "open_mnist", lambda data_dir: {"train": examples})


@pytest.mark.usefixtures("on_disk")
def test_streams_what_it_would_draw(images):
    pytest.importorskip("grain")
    settings = dataclasses.replace(SMALL, stream=True, permuted=True, batch=30)
    task = pixel_mnist_task(settings)
    assert task.stream is not None
    inputs, labels = task.stream(0)[0]
    assert inputs.shape == (30, 784, 1)
    pixels, digits = task.train
    found = {row.tobytes() for row in np.round(inputs[..., 0] * 255).astype(np.uint8)}
    assert found == {np.asarray(row).tobytes() for row in pixels}
    assert sorted(labels) == sorted(np.asarray(digits).tolist())


@pytest.mark.slow
@pytest.mark.usefixtures("on_disk")
def test_a_streamed_run_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    pytest.importorskip("grain")
    settings = dataclasses.replace(
        SMALL,
        methods=("rnn",),
        hidden=4,
        read="rows",
        stream=True,
        steps=6,
        evaluate_every=3,
        seeds=(0, 1),
    )
    monkeypatch.setattr(pace, "STRETCH", 0.0)  # a step at a time

    def run(path, stop=None):
        def advance(done, score):
            if done == stop and score is None:
                signal.raise_signal(signal.SIGTERM)

        task = pixel_mnist_task(settings)
        with (
            interruptible(),
            RunDirectory(path, "pixel_mnist", settings) as directory,
        ):
            return train(task, "rnn", settings, directory, advance)

    whole = run(tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        run(tmp_path / "cut", stop=2)
    resumed = run(tmp_path / "cut")
    np.testing.assert_array_equal(whole.scores, resumed.scores)
    files = [tmp_path / name / "metrics.jsonl" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
@pytest.mark.real_data
def test_trains_on_the_published_files(published, tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(
        pixel_mnist, "load_mnist", partial(load_mnist, cache=tmp_path / "cache")
    )
    settings = PixelMnistSettings(
        methods=("scornn",),
        hidden=16,
        negatives=2,
        read="rows",
        permuted=True,
        steps=40,
        evaluate_every=20,
        test_images=500,
        data_dir=published / "mnist",
        runs=tmp_path,
    )
    comparison = run_experiment(settings)
    assert comparison.summaries["scornn"].median > 0.15
    noted = json.loads((tmp_path / "pixel_mnist" / "run.json").read_text())
    assert sorted(noted["order_of_pixels"]) == list(range(784))
