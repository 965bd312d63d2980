"""A run on disk: what was asked, on what, what was measured, what came out."""

import dataclasses
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, Self

import jax

import gradstab as gs

_CONTENTS = (
    "settings.json",
    "run.json",
    "metrics.jsonl",
    "result.json",
    "diagnosis.json",
    "figures",
    "checkpoints",
    "tensorboard",
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
    seed and measurement, `checkpoints/` holds the newest states, `figures/` the
    figures; `result.json` is written last, so that it marks a run that has ended. A run
    that is there already, made with the same settings, is gone on with.

    Args:
        path: the directory; made if it is missing.
        experiment: what is run.
        settings: a dataclass of settings.
        force: whether to start again, and drop what is there.
        events: what else takes the measurements.

    Raises:
        SettingsError: if a run with other settings is there and `force` is False.
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
        there = path / "settings.json"
        if force and there.exists():
            for old in _CONTENTS:
                shutil.rmtree(path / old, ignore_errors=True)
                (path / old).unlink(missing_ok=True)
        elif there.exists():
            differing = _differences(read_json(there), wanted)
            if differing:
                raise SettingsError(
                    f"{path} holds a run with other settings ({'; '.join(differing)}); "
                    "give another --name, or --force to replace it."
                )
        (path / "figures").mkdir(parents=True, exist_ok=True)
        self._write("settings.json", wanted)
        self._circumstances = circumstances()
        self.note({})
        self._metrics = (path / "metrics.jsonl").open("a")
        self._events = events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._metrics.close()
        if self._events:
            self._events.close()

    def checkpoints(self, task: str, method: str) -> Path:
        """Names the directory of the checkpoints of one training."""
        return self.path / "checkpoints" / task / method

    def log(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines to `metrics.jsonl`."""
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
        path = self.path / "metrics.jsonl"
        records = [
            record
            for line in path.read_text().splitlines()
            if (record := parsed(line)) is not None
        ]
        ours = [(one["task"], one["method"]) == (task, method) for one in records]
        late = [one["step"] > step for one in records]
        kept = [
            record
            for record, own, after in zip(records, ours, late, strict=True)
            if not (own and after)
        ]
        self._metrics.close()
        lines = [json.dumps(record, allow_nan=False) + "\n" for record in kept]
        self._replace("metrics.jsonl", "".join(lines))
        self._metrics = path.open("a")
        if self._events:
            self._events.rewind(step)
        return [one for one in kept if (one["task"], one["method"]) == (task, method)]

    def note(self, facts: Mapping[str, Any]) -> None:
        """Adds to `run.json`."""
        self._circumstances |= facts
        self._write("run.json", self._circumstances)

    def diagnose(self, found: Mapping[str, Any]) -> Path:
        """Writes `diagnosis.json`."""
        self._write("diagnosis.json", found)
        return self.path / "diagnosis.json"

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes `result.json`."""
        self._write("result.json", result)

    def _write(self, name: str, content: Any) -> None:
        self._replace(name, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def _replace(self, name: str, text: str) -> None:
        # A reader sees the whole file or none, whenever the process is killed.
        unfinished = self.path / f".{name}"
        unfinished.write_text(text)
        os.replace(unfinished, self.path / name)


def circumstances() -> dict[str, Any]:
    """Names the versions, devices and the git revision that a run had."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "gradstab": gs.__version__,
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "devices": [str(device) for device in jax.devices()],
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
        return json.loads(file.read_text())
    except ValueError as error:
        raise SettingsError(
            f"{file} is damaged ({error}); give another --name, or --force to start "
            "again."
        ) from error


def parsed(line: str) -> dict[str, Any] | None:
    """Reads a line of `metrics.jsonl`; None for the half that a killed run leaves."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {there.get(name)} there, {wanted.get(name)} asked"
        for name in sorted({*there, *wanted})
        if there.get(name) != wanted.get(name)
    ]
