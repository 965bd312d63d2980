import gzip
import struct

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from experiments.data.idx_mnist.builder import read_idx, read_pairs
from experiments.data.source_files import DataError


def write_idx(path, array, *, kind=8, shape=None):
    shape = array.shape if shape is None else shape
    header = bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))
    return path


@pytest.mark.parametrize("shape", [(3, 2, 2), (5,), (0, 2, 2)])
def test_reads_what_was_written(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    read = read_idx(write_idx(tmp_path / "a.gz", array))
    np.testing.assert_array_equal(read, array)


def test_refuses_what_is_cut_off(tmp_path):
    path = write_idx(tmp_path / "a.gz", np.arange(200, dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="a.gz cannot be decompressed"):
        read_idx(path)


def test_refuses_what_is_not_compressed(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match="a.gz cannot be decompressed"):
        read_idx(path)


def test_refuses_another_type(tmp_path):
    path = write_idx(tmp_path / "a.gz", np.arange(4, dtype=np.uint8), kind=13)
    with pytest.raises(DataError, match="starts with 00000d01, not with 000008"):
        read_idx(path)


@pytest.mark.parametrize("shape", [(3, 2), (4, 3)])
def test_refuses_another_number_of_entries(tmp_path, shape):
    array = np.zeros((4, 2), np.uint8)
    path = write_idx(tmp_path / "a.gz", array, shape=shape)
    with pytest.raises(DataError, match=r"holds 8 entries, not \(\d, \d\) of them"):
        read_idx(path)


def test_refuses_a_header_that_is_cut_off(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0, 0])))
    with pytest.raises(DataError, match="ends within its header"):
        read_idx(path)


@pytest.mark.parametrize("count", [2, 4])
def test_refuses_another_number_of_labels_than_of_images(tmp_path, count):
    images = write_idx(tmp_path / "images.gz", np.zeros((3, 28, 28), np.uint8))
    labels = write_idx(tmp_path / "labels.gz", np.zeros(count, np.uint8))
    message = rf"images.gz holds 3 images, but .*labels.gz {count} labels"
    with pytest.raises(DataError, match=message):
        read_pairs(images, labels)
