import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from experiments.data import mnist
from experiments.data.idx_mnist.builder import IdxMnist
from experiments.data.mnist import FILES, load_mnist, open_mnist
from experiments.data.source_files import DataError
from tests.experiments.data.test_idx_mnist import write_idx


def test_without_files_and_network_says_at_once_what_to_put_where(tmp_path):
    with pytest.raises(DataError) as caught:
        load_mnist(cache=tmp_path)
    message = str(caught.value)
    assert "--data-dir" in message
    assert str(tmp_path / "idx_mnist" / "1.0.0") in message
    for file in FILES:
        assert file.name in message
        assert file.sha256 in message
        assert str(file.url) in message


def test_a_partial_file_is_named(tmp_path):
    for file in FILES:
        (tmp_path / file.name).write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match="train-labels.* has 2 bytes, not 28,881"):
        load_mnist(tmp_path, tmp_path / "cache")


def write_files(folder, **labels):
    """Writes images that are all their label."""
    for split, found in labels.items():
        digits = np.array(found, np.uint8)
        images = np.broadcast_to(digits[:, None, None], (len(digits), 28, 28))
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", digits)


def test_images_come_back_with_their_labels(tmp_path, expect):
    write_files(tmp_path, train=[3, 0, 9], t10k=[1, 7])
    expect(mnist, IdxMnist, tmp_path)
    splits = load_mnist(tmp_path, tmp_path / "cache")
    assert [part.labels.tolist() for part in splits] == [[], [3, 0, 9], [1, 7]]
    for images, labels in splits:
        expected = np.broadcast_to(labels[:, None, None], (len(labels), 28, 28))
        np.testing.assert_array_equal(images, expected)
    streamed = open_mnist(tmp_path, tmp_path / "cache")["train"]
    assert [int(streamed[place]["label"]) for place in range(3)] == [3, 0, 9]


@pytest.mark.parametrize("load", [load_mnist, open_mnist])
def test_a_label_that_is_no_class_is_named_with_its_file(tmp_path, expect, load):
    write_files(tmp_path, train=[3, 0, 9], t10k=[1, 10])
    expect(mnist, IdxMnist, tmp_path)
    with pytest.raises(DataError, match=r"t10k-labels.*: label 10 of example 1"):
        load(tmp_path, tmp_path / "cache")


@pytest.mark.real_data
def test_published_files(published, tmp_path):
    splits = load_mnist(published / "mnist", tmp_path)
    counts = [len(part.labels) for part in splits]
    assert counts == [55_000, 5_000, 10_000]
    np.testing.assert_array_equal(splits.train.labels[:5], [5, 0, 4, 1, 9])
    np.testing.assert_array_equal(splits.test.labels[:5], [7, 2, 1, 0, 4])
    images = np.concatenate([splits.train.images, splits.validation.images])
    np.testing.assert_allclose(images.mean() / 255, 0.1307, atol=1e-4)
    np.testing.assert_allclose(images.std() / 255, 0.3081, atol=1e-4)
