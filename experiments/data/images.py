"""Labeled images in three parts."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float32, Int32, Integer, UInt8

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


def read_splits(sources: Mapping[str, Any], count: int) -> ImageSplits:
    """Reads the splits `train` and `test`.

    Args:
        sources: data sources of examples `image` and `label`.
        count: how many training images are set apart to validate on, the last.

    Returns:
        All three parts.
    """
    train, test = read_images(sources["train"]), read_images(sources["test"])
    return ImageSplits.set_apart(train, test, count)


def read_images(source: Any) -> LabeledImages:
    """Reads all examples of a split.

    Args:
        source: a data source of examples `image` and `label`.

    Returns:
        The images and their classes, in the order of the source.
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
    return LabeledImages(images, np.asarray(labels, np.int32))


def averaged(
    images: UInt8[np.ndarray, "count height width *channels"], times: int
) -> Float32[np.ndarray, "count rows columns *channels"]:
    """Shrinks images by the mean over squares of so many pixels a side.

    Args:
        images: their sides are multiples of `times`.
        times: pixels of a square's side.

    Returns:
        The images, between 0 and 1.
    """
    count, height, width, *channels = images.shape
    shape = count, height // times, times, width // times, times, *channels
    return images.reshape(shape).mean(axis=(2, 4), dtype=np.float32) / 255


def check_labels(
    labels: Integer[np.ndarray, " count"], classes: int, file: PathLike[str] | str
) -> Int32[np.ndarray, " count"]:
    """Checks that labels are classes.

    Args:
        labels: whole numbers.
        classes: how many classes there are.
        file: where the labels come from, for the error.

    Returns:
        The labels.

    Raises:
        DataError: naming the first label that lies outside [0, classes).
    """
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        raise DataError(
            f"{file}: label {labels[outside[0]]} of example {outside[0]} lies outside "
            f"[0, {classes - 1}]."
        )
    return labels.astype(np.int32)
