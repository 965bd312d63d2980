import socket

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from experiments.data.mnist import FILES, load_mnist
from experiments.data.source_files import DataError


def test_without_files_and_network_says_at_once_what_to_put_where(
    tmp_path, monkeypatch
):
    def refuse(*_, **__):
        raise OSError("unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(DataError) as caught:
        load_mnist(cache=tmp_path)
    message = str(caught.value)
    assert "--data-dir" in message
    for file in FILES:
        assert file.name in message
        assert file.sha256 in message
        assert str(file.url) in message


def test_a_partial_file_is_named(tmp_path):
    for file in FILES:
        (tmp_path / file.name).write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match="train-labels.* has 2 bytes, not 28,881"):
        load_mnist(tmp_path, tmp_path / "cache")


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
