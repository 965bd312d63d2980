"""A run on disk: what was asked, on what, what was measured, what came out."""

import dataclasses
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, Self

import jax.numpy as jnp

import gradstab as gs

# `settings.json` last: while it is there, what is left of a run is known by it.
_CONTENTS = (
    "result.json",
    "diagnosis.json",
    "diagnosis",
    "metrics.jsonl",
    "run.json",
    "figures",
    "checkpoints",
    "tensorboard",
    "settings.json",
)
# Settings that change no number, or only which files it is computed from.
_PLACE = ("runs", "name", "force", "data_dir", "tensorboard", "save_every")


class SettingsError(Exception):
    """A run cannot start as asked."""


class Sink(Protocol):
    """Takes the measurements of a run beside `metrics.jsonl`."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes the record of one seed and measurement."""

    def rewind(self, step: int) -> None:
        """Drops what came after a step."""

    def close(self) -> None:
        """Takes no more."""


class RunDirectory:
    """Writes the files of one run, each flushed as it is written.

    `settings.json` and `run.json` come first, `metrics.jsonl` grows by a line for each
    seed and measurement, `checkpoints/` holds the newest states; `result.json` is
    written once all methods are trained, `figures/` after it. A run that is there
    already, made with the same settings, is gone on with. Numbers that are not finite
    are null.

    Args:
        path: the directory; made if it is missing.
        experiment: what is run.
        settings: a dataclass of settings.
        force: whether to start again, and drop what is there.
        events: what else takes the measurements.

    Raises:
        SettingsError: if a run with other settings is there, or one that is damaged,
            and `force` is False.
    """

    def __init__(
        self,
        path: Path,
        experiment: str,
        settings: Any,
        *,
        force: bool = False,
        events: Sink | None = None,
    ):
        wanted = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
        wanted = {name: value for name, value in wanted.items() if name not in _PLACE}
        wanted = {"experiment": experiment, **wanted}
        self.path = path
        if force:
            self._clear()
        else:
            self._check_same(wanted)
        (path / "figures").mkdir(parents=True, exist_ok=True)
        self._write("settings.json", wanted)
        there = path / "run.json"
        self._facts = read_json(there) if there.exists() else {"starts": []}
        self._facts.setdefault("starts", []).append(circumstances())
        self.note({})
        self._events = events
        self._metrics = (path / "metrics.jsonl").open("a")
        self._rewrite(read_records(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with naming(self.path / "metrics.jsonl"):
            self._metrics.close()
        if self._events:
            self._events.close()

    def checkpoints(self, task: str, method: str) -> Path:
        """Names the directory of the checkpoints of one training."""
        return self.path / "checkpoints" / task / method

    def log(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines to `metrics.jsonl`."""
        with naming(self.path / "metrics.jsonl"):
            for record in records:
                self._metrics.write(json.dumps(record, allow_nan=False) + "\n")
                if self._events:
                    self._events.add(record)
            self._metrics.flush()

    def rewind(self, task: str, method: str, step: int) -> list[dict[str, Any]]:
        """Drops what was logged of a training after a step.

        Args:
            task: which task was trained on.
            method: which method was trained.
            step: what is known of later steps is dropped.

        Returns:
            The records of the training that are left.
        """

        def is_ours(record: Mapping[str, Any]) -> bool:
            return (record["task"], record["method"]) == (task, method)

        records = [
            record
            for record in read_records(self.path)
            if not (is_ours(record) and record["step"] > step)
        ]
        self._rewrite(records)
        if self._events:
            self._events.rewind(step)
        return [record for record in records if is_ours(record)]

    def note(self, facts: Mapping[str, Any]) -> None:
        """Adds to `run.json`."""
        self._facts |= facts
        self._write("run.json", self._facts)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes `result.json`."""
        self._write("result.json", result)

    def _clear(self) -> None:
        old = [self.path / name for name in _CONTENTS]
        for file in [*self.path.glob("trial-*"), *old]:
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink(missing_ok=True)

    def _check_same(self, wanted: Mapping[str, Any]) -> None:
        advice = "give another --name, or --force to start again."
        there = self.path / "settings.json"
        if not there.exists():
            left = [name for name in _CONTENTS if (self.path / name).exists()]
            if left:
                names = ", ".join(left)
                raise SettingsError(
                    f"{self.path} holds {names} but no settings.json; {advice}"
                )
            return
        try:
            found = read_json(there)
        except SettingsError as error:
            raise SettingsError(f"{error}; {advice}") from error
        differing = [
            f"{name}: {found.get(name)} there, {wanted.get(name)} asked"
            for name in sorted({*found, *wanted})
            if found.get(name) != wanted.get(name)
        ]
        if differing:
            raise SettingsError(
                f"{self.path} holds a run with other settings "
                f"({'; '.join(differing)}); {advice}"
            )

    def _rewrite(self, records: Iterable[Mapping[str, Any]]) -> None:
        lines = [json.dumps(record, allow_nan=False) + "\n" for record in records]
        self._metrics.close()
        write_whole(self.path / "metrics.jsonl", "".join(lines))
        self._metrics = (self.path / "metrics.jsonl").open("a")

    def _write(self, name: str, content: Any) -> None:
        write_json(self.path / name, content)


def write_json(file: Path, content: Any) -> None:
    """Writes a file of JSON, whole or not at all."""
    write_whole(file, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_whole(file: Path, text: str) -> None:
    """Writes a file so that a reader sees all of it or what was there before."""
    unfinished = file.with_name(f".{file.name}")
    with naming(file):
        unfinished.write_text(text)
        os.replace(unfinished, file)


@contextmanager
def naming(file: Path) -> Generator[None]:
    """Gives errors of the operating system the name of the file they are about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error


def read_json(file: Path) -> dict[str, Any]:
    """Reads a file of a run.

    Args:
        file: the file.

    Returns:
        What it holds.

    Raises:
        SettingsError: naming the file, if it is damaged.
    """
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise SettingsError(f"{file} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{file} is damaged: it holds no table of values")
    return found


def read_records(run: Path) -> list[dict[str, Any]]:
    """Reads the measurements of a run.

    Args:
        run: the run directory.

    Returns:
        The records of `metrics.jsonl`, without the half line that a killed run may have
        left at its end.

    Raises:
        SettingsError: naming the file and the line, if it is damaged elsewhere.
    """
    file = run / "metrics.jsonl"
    lines = file.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise SettingsError(f"{file}:{number} is damaged: {error}") from error
        if not isinstance(found[-1], dict):
            raise SettingsError(f"{file}:{number} is damaged: it holds no record")
    return found


def circumstances() -> dict[str, Any]:
    """Names the versions, the device and the git revision that a start had."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "gradstab": gs.__version__,
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "devices": sorted(map(str, jnp.zeros(()).devices())),
        "git_revision": git_revision(),
    }


def git_revision() -> str | None:
    """Names the commit of this checkout, with "+changes" if files differ from it."""
    command = ("git", "describe", "--always", "--abbrev=40", "--dirty=+changes")
    try:
        found = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
