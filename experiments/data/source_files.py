"""Files that a data set is made of: found, and checked, before anything is read."""

import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

PATIENCE = 3.0  # seconds to wait for a host before it counts as out of reach


class DataError(Exception):
    """A data set cannot be read: what is missing or wrong, and what to do."""


@dataclass(frozen=True)
class SourceFile:
    """One file as its publishers distribute it.

    Attributes:
        name: its name on disk.
        size: its length in bytes.
        sha256: its checksum, in hexadecimal digits.
        url: where it can be fetched without asking anybody; None if nowhere.
    """

    name: str
    size: int
    sha256: str
    url: str | None = None


def listed_files(checksums: Path) -> tuple[SourceFile, ...]:
    """Reads a list of files as tensorflow-datasets keeps it beside a builder.

    Args:
        checksums: a file of lines of address, size, SHA-256 and name, between tabs.

    Returns:
        The files.
    """
    lines = [line.split("\t") for line in checksums.read_text().splitlines()]
    return tuple(
        SourceFile(name, int(size), sha256, url) for url, size, sha256, name in lines
    )


def check_local(files: Sequence[SourceFile], folder: Path, advice: str) -> None:
    """Checks that files are there, whole and unchanged.

    Args:
        files: what must be there.
        folder: where.
        advice: how to obtain them, for the error.

    Raises:
        DataError: naming each file that is missing, or whose size or checksum differ.
    """
    problems = [problem for file in files if (problem := _problem(file, folder))]
    if problems:
        raise DataError("\n".join([*problems, advice]))


def check_reachable(files: Sequence[SourceFile], advice: str) -> None:
    """Checks that the hosts of files answer, within seconds.

    A download that cannot succeed would otherwise be tried again for minutes.

    Args:
        files: what is to be fetched.
        advice: what to do without a network, for the error.

    Raises:
        DataError: naming the files and, if it is that, the host that does not answer.
    """
    urls = [file.url for file in files]
    if None in urls:
        raise DataError(
            f"{names_of(files)}: to be had from no public address.\n{advice}"
        )
    parts = [urlsplit(str(url)) for url in urls]
    for host, port in {(part.hostname, part.port or 443) for part in parts}:
        try:
            socket.create_connection((host, port), timeout=PATIENCE).close()
        except OSError as error:
            raise DataError(
                f"{names_of(files)}: not on this machine, and {host} does not answer "
                f"({error}).\n{advice}"
            ) from error


def describe(files: Sequence[SourceFile]) -> str:
    """Lists names, sizes, checksums and addresses, a line each."""
    return "\n".join(
        f"  {file.name}  {file.size:,} bytes  sha256 {file.sha256}"
        + (f"\n    {file.url}" if file.url else "")
        for file in files
    )


def names_of(files: Sequence[SourceFile]) -> str:
    """Lists names alone, in a line."""
    return ", ".join(file.name for file in files)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz file.

    Args:
        path: the file.

    Returns:
        Its arrays, by name.

    Raises:
        DataError: if the file is damaged, or is no .npz file.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            return dict(arrays)
    # NumPy, zipfile and zlib raise a dozen kinds of errors at a damaged file.
    except Exception as error:
        raise DataError(f"{path} is damaged, or is no .npz file: {error}.") from error


def _problem(file: SourceFile, folder: Path) -> str | None:
    path = folder / file.name
    if not path.is_file():
        return f"{path} is missing."
    size = path.stat().st_size
    if size != file.size:
        return f"{path} has {size:,} bytes, not {file.size:,}: a partial download?"
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        return f"{path} has the sha256 {found}, not {file.sha256}."
    return None
