"""A tensorflow-datasets builder for MNIST that needs no TensorFlow."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from experiments.data.images import check_labels
from experiments.data.source_files import DataError

URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
SPLITS = {"train": "train", "test": "t10k"}
IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"


class IdxMnist(tfds.core.GeneratorBasedBuilder):
    """28×28 gray images of handwritten digits, 60,000 to train and 10,000 to test."""

    VERSION = tfds.core.Version("1.0.0")
    # Checked against `checksums.tsv`, in the manual folder too.
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Optional: the four files of MNIST, unrenamed."

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=IdxMnist.__doc__,
            homepage="http://yann.lecun.com/exdb/mnist/",
            disable_shuffling=True,
            features=tfds.features.FeaturesDict({
                "image": tfds.features.Tensor(shape=(28, 28), dtype=np.uint8),
                "label": tfds.features.ClassLabel(num_classes=10),
            }),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        paths = dl_manager.download({
            split: [f"{URL}{prefix}-{IMAGES}", f"{URL}{prefix}-{LABELS}"]
            for split, prefix in SPLITS.items()
        })
        return {
            split: self._generate_examples(*found) for split, found in paths.items()
        }

    def _generate_examples(
        self, images: PathLike[str], labels: PathLike[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for place, (image, label) in enumerate(read_pairs(images, labels)):
            yield place, {"image": image, "label": label}


def read_pairs(
    images: PathLike[str], labels: PathLike[str]
) -> Iterator[tuple[UInt8[np.ndarray, "28 28"], int]]:
    """Reads images with their labels.

    Args:
        images: the idx file of images.
        labels: that of labels.

    Returns:
        Pairs, in the order of the files.

    Raises:
        DataError: if a file is not what `read_idx` reads, if one holds more than the
            other, or if a label is no digit.
    """
    pixels, digits = read_idx(images), read_idx(labels)
    if len(pixels) != len(digits):
        raise DataError(
            f"{images} holds {len(pixels):,} images, but {labels} {len(digits):,} "
            "labels."
        )
    return zip(pixels, check_labels(digits, 10, labels).tolist(), strict=True)


def read_idx(path: PathLike[str]) -> UInt8[np.ndarray, "..."]:
    """Reads a compressed file in the idx format, of unsigned bytes.

    The format: two zero bytes, the type (8 for unsigned bytes), the number of axes,
    the length of each as a big-endian 32-bit integer, the entries in row-major order.

    Args:
        path: the file.

    Returns:
        Its array.

    Raises:
        DataError: if the file is cut off, is no idx file of bytes, or holds more or
            fewer entries than it says.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be decompressed: {error}.") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(
            f"{path} starts with {content[:4].hex()}, not with 000008: "
            "no idx file of bytes."
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{path} ends within its header.")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    entries = len(content) - start
    if entries != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path} holds {entries:,} entries, not {shape} of them.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
