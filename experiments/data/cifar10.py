"""CIFAR-10 as arrays, whole or a sample of it."""

from pathlib import Path

from experiments.data.images import (
    ImageSplits,
    LabeledImages,
    check_labels,
    read_splits,
)
from experiments.data.prepared import prepared
from experiments.data.source_files import (
    SourceFile,
    check_local,
    describe,
    listed_files,
    read_arrays,
)

FILES = listed_files(Path(__file__).parent / "cifar10_binary" / "checksums.tsv")
SAMPLE = SourceFile(
    "cifar10_sample.npz",
    14_170_681,
    "c6e7b9693dce8f121117eaccad85ee4990ce44fef781f4750adb67b37d946f8d",
)
VALIDATION, SAMPLE_VALIDATION = 5000, 500


def load_cifar10(
    data_dir: Path | None = None, cache: Path | None = None
) -> ImageSplits:
    """Loads CIFAR-10; its last 5,000 training images are the validation set.

    Args:
        data_dir: folder with `cifar-10-binary.tar.gz`; None to download it.
        cache: where the prepared data set is kept; see `prepared`.

    Returns:
        45,000 images to train, 5,000 to validate and the 10,000 to test.

    Raises:
        DataError: if the archive is neither there nor to be had, or damaged.

    References:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical
        report, University of Toronto, 2009.
    """
    splits = prepared("cifar10_binary", FILES, data_dir=data_dir, cache=cache)
    return read_splits(splits, VALIDATION)


def load_cifar10_sample(data_dir: Path) -> ImageSplits:
    """Loads the first 4,000 training and 1,000 test images of CIFAR-10.

    Accuracies on it are not comparable with published ones.

    Args:
        data_dir: folder with `cifar10_sample.npz`.

    Returns:
        3,500 images to train, 500 to validate and 1,000 to test.

    Raises:
        DataError: if the file is missing or differs, or if a label is no class.
    """
    advice = f"The sample is to be had from no public address:\n{describe([SAMPLE])}"
    check_local([SAMPLE], data_dir, advice)
    path = data_dir / SAMPLE.name
    arrays = read_arrays(path)
    train, test = (
        LabeledImages(
            arrays[f"{split}_images"], check_labels(arrays[f"{split}_labels"], 10, path)
        )
        for split in ("train", "test")
    )
    return ImageSplits.set_apart(train, test, SAMPLE_VALIDATION)
