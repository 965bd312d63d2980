"""Labeled images in three parts."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Int32, UInt8

from experiments.data.source_files import DataError

_AT_ONCE = 10_000


class LabeledImages(NamedTuple):
    """Images with their classes."""

    images: UInt8[np.ndarray, "count height width *channels"]
    labels: Int32[np.ndarray, " count"]


class ImageSplits(NamedTuple):
    """Three parts that share no image."""

    train: LabeledImages
    validation: LabeledImages
    test: LabeledImages

    @classmethod
    def set_apart(cls, train: LabeledImages, test: LabeledImages, count: int) -> Self:
        """Makes the last images of a training set the validation set."""
        rest, last = slice(None, -count), slice(-count, None)
        return cls(
            LabeledImages(train.images[rest], train.labels[rest]),
            LabeledImages(train.images[last], train.labels[last]),
            test,
        )


def read_images(source: Any, classes: int = 10) -> LabeledImages:
    """Reads all examples of a split.

    Args:
        source: a data source of examples `image` and `label`.
        classes: how many classes there are.

    Returns:
        The images and their classes, in the order of the source.

    Raises:
        DataError: if a label is no class.
    """
    examples = [
        example
        for first in range(0, len(source), _AT_ONCE)
        for example in source.__getitems__(
            list(range(first, min(first + _AT_ONCE, len(source))))
        )
    ]
    labels = [int(example["label"]) for example in examples]
    images = np.stack([np.asarray(example["image"]) for example in examples])
    return LabeledImages(images, check_labels(labels, classes))


def check_labels(labels: Sequence[int], classes: int) -> Int32[np.ndarray, " count"]:
    """Checks that labels are classes.

    Args:
        labels: whole numbers.
        classes: how many classes there are.

    Returns:
        The labels.

    Raises:
        DataError: naming the first label that lies outside [0, classes).
    """
    for place, label in enumerate(labels):
        if not 0 <= label < classes:
            raise DataError(
                f"label {label} of example {place} lies outside [0, {classes - 1}]."
            )
    return np.asarray(labels, np.int32)
