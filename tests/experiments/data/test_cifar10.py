import io
import tarfile

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from experiments.data.cifar10 import load_cifar10, load_cifar10_sample
from experiments.data.cifar10_binary.builder import (
    NAMES,
    RECORD,
    Cifar10Binary,
    read_records,
)
from experiments.data.source_files import DataError


def test_records_are_a_label_and_three_planes():
    records = np.random.default_rng(0).integers(0, 256, (4, RECORD), dtype=np.uint8)
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


def test_the_archive_is_read_batch_after_batch(tmp_path):
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for number, name in enumerate(NAMES["train"] + NAMES["test"]):
            content = bytes([number]) + bytes([number]) * (RECORD - 1)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    builder = Cifar10Binary(data_dir=tmp_path / "cache", file_format="array_record")
    examples = list(builder._generate_examples(path, NAMES["train"]))
    assert [place for place, _ in examples] == [0, 1, 2, 3, 4]
    assert [example["label"] for _, example in examples] == [0, 1, 2, 3, 4]
    assert all(np.all(example["image"] == example["label"]) for _, example in examples)


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
