import numpy as np
import pytest

from experiments.data.images import (
    ImageSplits,
    LabeledImages,
    averaged,
    check_labels,
    read_images,
)
from experiments.data.source_files import DataError


class Source:
    """Examples that are read in lists, as tensorflow-datasets has them."""

    def __init__(self, images, labels):
        self._examples = [
            {"image": image, "label": np.array(label)}
            for image, label in zip(images, labels, strict=True)
        ]

    def __len__(self):
        return len(self._examples)

    def __getitems__(self, places):
        return [self._examples[place] for place in places]


def labeled(count, first=0):
    images = np.arange(first, first + count, dtype=np.uint8)
    return LabeledImages(images[:, None, None], np.zeros(count, np.int32))


def test_reads_all_examples_in_order():
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    found = read_images(Source(images, [3, 0, 9]))
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, [3, 0, 9])


@pytest.mark.parametrize("label", [-1, 10])
def test_names_a_label_that_is_no_class(label):
    message = rf"labels.gz: label {label} of example 1 .*\[0, 9\]"
    with pytest.raises(DataError, match=message):
        check_labels(np.array([3, label, 5]), 10, "labels.gz")


def test_the_validation_set_is_the_end_of_the_training_set():
    splits = ImageSplits.set_apart(labeled(10), labeled(2, first=10), 3)
    pixels = [part.images.ravel().tolist() for part in splits]
    assert pixels == [list(range(7)), [7, 8, 9], [10, 11]]


@pytest.mark.parametrize("channels", [(), (3,)])
def test_averages_over_squares(channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, *channels), np.uint8)
    found = averaged(images, 2)
    assert found.shape == (2, 2, 3, *channels)
    assert found.dtype == np.float32
    expected = images[1, 2:4, 4:6].mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(found[1, 1, 2], expected, rtol=1e-6)
    np.testing.assert_allclose(averaged(images, 1), images / 255, rtol=1e-6)
