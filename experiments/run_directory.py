"""A run on disk: what was asked, on what, what was measured, what came out."""

import dataclasses
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import jax

import gradstab as gs

_PLACE = ("runs", "name", "force")  # settings that change no number


class SettingsError(Exception):
    """A run cannot start as asked."""


class RunDirectory:
    """Writes the files of one run, each flushed as it is written.

    `settings.json` and `run.json` come first, `metrics.jsonl` grows by a line a
    measurement, `figures/` holds the figures; `result.json` is written last, so that it
    marks a run that has ended.

    Args:
        path: the directory; made if it is missing.
        settings: a dataclass of settings.
        force: whether to replace a run that was made with other settings. One made with
            the same settings is always replaced: it would give the same numbers.

    Raises:
        SettingsError: if such a run is there and `force` is False.
    """

    def __init__(self, path: Path, settings: Any, *, force: bool = False):
        wanted = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
        wanted = {name: value for name, value in wanted.items() if name not in _PLACE}
        self.path = path
        there = path / "settings.json"
        if there.exists() and not force:
            differing = _differences(json.loads(there.read_text()), wanted)
            if differing:
                raise SettingsError(
                    f"{path} holds a run with other settings ({'; '.join(differing)}); "
                    "give another --name, or --force to replace it."
                )
        (path / "figures").mkdir(parents=True, exist_ok=True)
        (path / "result.json").unlink(missing_ok=True)
        self._write("settings.json", wanted)
        self._write("run.json", circumstances())
        self._metrics = (path / "metrics.jsonl").open("w")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._metrics.close()

    def log(self, record: Mapping[str, Any]) -> None:
        """Adds a line to `metrics.jsonl`."""
        self._metrics.write(json.dumps(record, allow_nan=False) + "\n")
        self._metrics.flush()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes `result.json`."""
        self._write("result.json", result)

    def _write(self, name: str, content: Any) -> None:
        # A reader sees the whole file or none, whenever the process is killed.
        unfinished = self.path / f".{name}"
        unfinished.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
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


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {there.get(name)} there, {wanted.get(name)} asked"
        for name in sorted({*there, *wanted})
        if there.get(name) != wanted.get(name)
    ]
