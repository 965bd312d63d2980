"""Preparing a data set once with tensorflow-datasets, and reading it after that."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from experiments.data.extra import extra_data
from experiments.data.source_files import (
    DataError,
    SourceFile,
    check_local,
    check_reachable,
    describe,
    names_of,
)


def prepared(
    name: str,
    files: Sequence[SourceFile],
    *,
    data_dir: Path | None,
    cache: Path | None = None,
    config: str | None = None,
    exact: bool = True,
) -> dict[str, Any]:
    """Opens the splits of a data set, and prepares it first if that was never done.

    The first time, the files are taken from `data_dir`, or downloaded if it is None.
    What is downloaded goes to a temporary name and is renamed once its checksum has
    been verified; what is prepared, likewise.

    Args:
        name: what the builder is registered by, and the package here that holds it. It
            needs no TensorFlow.
        files: what it reads.
        data_dir: folder that holds the files.
        cache: where prepared data sets are kept; None for tensorflow-datasets' own
            place, `TFDS_DATA_DIR` or ~/tensorflow_datasets.
        config: which of the builder's configurations.
        exact: whether files in `data_dir` must have the sizes and checksums listed.
            Others need a cache of their own, which does not tell them apart.

    Returns:
        For each split a sequence of examples, read from disk when indexed.

    Raises:
        DataError: if the files are neither here nor to be had, or not what they should
            be; or if the extra `data` is not installed.
    """
    with extra_data():
        import tensorflow_datasets as tfds

        import_module(f"experiments.data.{name}.builder")
        builder_type: Any = tfds.builder_cls(name)
        builder = builder_type(
            config=config, data_dir=cache, file_format="array_record"
        )
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    is_prepared = builder.data_path.exists() and builder.is_prepared()
    advice = (
        "Put these files, unrenamed, into one folder and name it with --data-dir:\n"
        f"{describe(files)}\nWhat is prepared from them is kept in {builder.data_path}."
    )
    if data_dir is not None:
        _check_folder(files, data_dir, advice, exact=exact)
    elif not is_prepared:
        check_reachable(files, advice)
    if not is_prepared:
        _prepare(builder, files, data_dir, advice)
    return dict(builder.as_data_source())


def _check_folder(
    files: Sequence[SourceFile], folder: Path, advice: str, *, exact: bool
) -> None:
    if exact:
        check_local(files, folder, advice)
        return
    missing = [file.name for file in files if not (folder / file.name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}.\n{advice}")


def _prepare(
    builder: Any, files: Sequence[SourceFile], data_dir: Path | None, advice: str
) -> None:
    import requests
    from tensorflow_datasets import download
    from tensorflow_datasets.core.download import download_manager

    options = download.DownloadConfig(manual_dir=data_dir, try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=options)
    except (
        requests.RequestException,
        download.DownloadError,
        download_manager.NonMatchingChecksumError,
    ) as error:
        raise DataError(
            f"{names_of(files)}: a download failed ({error}).\n"
            f"Try again, or fetch them otherwise.\n{advice}"
        ) from error
