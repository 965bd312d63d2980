import hashlib
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from experiments.data import cifar10
from experiments.data.cifar10 import load_cifar10, load_cifar10_sample
from experiments.data.cifar10_binary.builder import (
    NAMES,
    RECORD,
    Cifar10Binary,
    read_records,
)
from experiments.data.source_files import DataError


def write_archive(path, labels):
    """Writes a file of one record for each label, whose pixels are all the label."""
    with tarfile.open(path, "w:gz") as archive:
        for label, name in zip(labels, NAMES["train"] + NAMES["test"], strict=True):
            member = tarfile.TarInfo(name)
            member.size = RECORD
            archive.addfile(member, io.BytesIO(bytes([label]) * RECORD))
    return path


def test_records_are_a_label_and_three_planes():
    records = np.random.default_rng(0).integers(0, 256, (4, RECORD), dtype=np.uint8)
    records[:, 0] %= 10
    images, labels = read_records(records.tobytes(), "batch.bin")
    np.testing.assert_array_equal(labels, records[:, 0])
    assert images.shape == (4, 32, 32, 3)
    for channel in range(3):
        plane = records[:, 1 + 1024 * channel : 1 + 1024 * (channel + 1)]
        np.testing.assert_array_equal(images[..., channel].reshape(4, -1), plane)


@pytest.mark.parametrize("size", [0, 1, RECORD - 1, 2 * RECORD + 5])
def test_refuses_what_ends_within_a_record(size):
    with pytest.raises(DataError, match=rf"batch.bin has {size:,} bytes"):
        read_records(bytes(size), "batch.bin")


def test_the_archive_is_read_batch_after_batch(tmp_path, expect):
    write_archive(tmp_path / "cifar-10-binary.tar.gz", range(6))
    expect(cifar10, Cifar10Binary, tmp_path)
    splits = load_cifar10(tmp_path, tmp_path / "cache")
    assert [part.labels.tolist() for part in splits] == [[], [0, 1, 2, 3, 4], [5]]
    for images, labels in splits:
        assert all(
            np.all(image == label) for image, label in zip(images, labels, strict=True)
        )


def test_a_label_that_is_no_class_is_named_with_its_file(tmp_path, expect):
    write_archive(tmp_path / "cifar-10-binary.tar.gz", [0, 1, 2, 10, 4, 5])
    expect(cifar10, Cifar10Binary, tmp_path)
    with pytest.raises(DataError, match=r"data_batch_4.bin: label 10 of example 0"):
        load_cifar10(tmp_path, tmp_path / "cache")


@pytest.fixture
def write_sample(tmp_path, monkeypatch):
    """Writes a sample and makes its loader expect it."""

    def write(content):
        (tmp_path / "cifar10_sample.npz").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        sample = replace(cifar10.SAMPLE, size=len(content), sha256=sha256)
        monkeypatch.setattr(cifar10, "SAMPLE", sample)

    return write


@pytest.mark.parametrize("label", [-1, 10, 256])
def test_a_label_of_the_sample_that_is_no_class_is_named(tmp_path, write_sample, label):
    images, content = np.zeros((2, 32, 32, 3), np.uint8), io.BytesIO()
    np.savez(
        content,
        train_images=images,
        train_labels=np.array([9, 0]),
        test_images=images,
        test_labels=np.array([3, label]),
    )
    write_sample(content.getvalue())
    message = rf"cifar10_sample.npz: label {label} of example 1"
    with pytest.raises(DataError, match=message):
        load_cifar10_sample(tmp_path)


def test_a_damaged_sample_is_named(tmp_path, write_sample):
    write_sample(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"cifar10_sample.npz is damaged"):
        load_cifar10_sample(tmp_path)


def test_a_missing_archive_is_named_with_its_address(tmp_path):
    with pytest.raises(
        DataError, match=r"cifar-10-binary.tar.gz is missing(.|\n)*http"
    ):
        load_cifar10(tmp_path, tmp_path / "cache")
    with pytest.raises(DataError, match=r"cifar10_sample.npz is missing"):
        load_cifar10_sample(tmp_path)


@pytest.mark.real_data
def test_published_sample(published):
    splits = load_cifar10_sample(published / "cifar10")
    assert [part.images.shape for part in splits] == [
        (3500, 32, 32, 3),
        (500, 32, 32, 3),
        (1000, 32, 32, 3),
    ]
    assert set(np.unique(splits.test.labels)) == set(range(10))
