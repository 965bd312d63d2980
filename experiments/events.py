"""Measurements as TensorBoard reads them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.run_directory import SettingsError


class Events:
    """Event files of one run, in a directory for each task, method and seed.

    Args:
        path: the directory of the run's event files.

    Raises:
        SettingsError: if tensorboardX is not installed.
    """

    def __init__(self, path: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise SettingsError(
                "--tensorboard needs tensorboardX, of the extra `experiments`: "
                'pip install ".[experiments]"'
            ) from error
        self._open = SummaryWriter
        self._path = path
        self._writers: dict[str, Any] = {}
        self._purge: int | None = None

    def rewind(self, step: int) -> None:
        """Hides what was written after a step, in the files opened from now on."""
        self.close()
        self._purge = step + 1

    def add(self, record: Mapping[str, Any]) -> None:
        """Writes the numbers of one record of `metrics.jsonl`."""
        name = f"{record['task']}/{record['method']}/seed{record['seed']}"
        if name not in self._writers:
            folder = str(self._path / name)
            self._writers[name] = self._open(folder, purge_step=self._purge)
        for key, value in record.items():
            if isinstance(value, float):
                self._writers[name].add_scalar(key, value, record["step"])
        self._writers[name].flush()

    def close(self) -> None:
        """Ends all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
