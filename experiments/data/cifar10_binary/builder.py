"""A tensorflow-datasets builder for CIFAR-10 that needs no TensorFlow."""

import tarfile
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32, UInt8

from experiments.data.images import check_labels
from experiments.data.source_files import DataError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"
NAMES = {
    "train": [f"{FOLDER}/data_batch_{number}.bin" for number in range(1, 6)],
    "test": [f"{FOLDER}/test_batch.bin"],
}
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes


class Cifar10Binary(tfds.core.GeneratorBasedBuilder):
    """32×32 color images of ten kinds of things, 50,000 to train and 10,000 to test."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Optional: cifar-10-binary.tar.gz, not unpacked."

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=Cifar10Binary.__doc__,
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            disable_shuffling=True,
            features=tfds.features.FeaturesDict({
                "image": tfds.features.Tensor(shape=(32, 32, 3), dtype=np.uint8),
                "label": tfds.features.ClassLabel(num_classes=10),
            }),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        archive = dl_manager.download(URL)
        return {
            split: self._generate_examples(archive, names)
            for split, names in NAMES.items()
        }

    def _generate_examples(
        self, archive: PathLike[str], names: list[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        place = 0
        with tarfile.open(archive) as members:
            for name in names:
                found = members.extractfile(name)
                content = found.read() if found else b""
                images, labels = read_records(content, name)
                for image, label in zip(images, labels.tolist(), strict=True):
                    yield place, {"image": image, "label": label}
                    place += 1


def read_records(
    content: bytes, name: str
) -> tuple[UInt8[np.ndarray, "count 32 32 3"], Int32[np.ndarray, " count"]]:
    """Splits a file of CIFAR-10's binary version into images and labels.

    Args:
        content: the bytes of the file.
        name: the file, for the error.

    Returns:
        The images, color channels last, and the labels.

    Raises:
        DataError: if the file is empty or ends within a record, or if a label is none
            of the ten.
    """
    if not content or len(content) % RECORD:
        raise DataError(
            f"{name} has {len(content):,} bytes, no multiple of {RECORD:,}."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, check_labels(records[:, 0], 10, name)
