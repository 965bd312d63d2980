"""MNIST as arrays: training, validation and test images with their digits."""

from pathlib import Path
from typing import Any

from experiments.data.images import ImageSplits, read_splits
from experiments.data.prepared import prepared
from experiments.data.source_files import listed_files

FILES = listed_files(Path(__file__).parent / "idx_mnist" / "checksums.tsv")
VALIDATION = 5000


def open_mnist(
    data_dir: Path | None = None, cache: Path | None = None
) -> dict[str, Any]:
    """Opens the splits `train` and `test`, which are read from disk when indexed.

    Args:
        data_dir: see `load_mnist`.
        cache: see `load_mnist`.

    Returns:
        Sequences of examples `image` and `label`, whose labels were checked when they
        were prepared; the last 5,000 of `train` are those that `load_mnist` sets apart.

    Raises:
        DataError: see `load_mnist`.
    """
    return prepared("idx_mnist", FILES, data_dir=data_dir, cache=cache)


def load_mnist(data_dir: Path | None = None, cache: Path | None = None) -> ImageSplits:
    """Loads MNIST; its last 5,000 training images are the validation set.

    Args:
        data_dir: folder with the four original files; None to download them.
        cache: where the prepared data set is kept; see `prepared`.

    Returns:
        55,000 images to train, 5,000 to validate and the 10,000 to test.

    Raises:
        DataError: if the files are neither there nor to be had, or damaged.

    References:
        LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document
        Recognition", Proceedings of the IEEE 86(11), 1998.
    """
    return read_splits(open_mnist(data_dir, cache), VALIDATION)
