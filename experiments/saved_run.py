"""Runs that are on disk, read back."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.catalog import EXPERIMENTS
from experiments.experiment import Experiment
from experiments.run_directory import SettingsError, read_json
from experiments.settings import TrainingSettings


def read_run(
    path: Path, data_dir: Path | None = None
) -> tuple[Experiment, TrainingSettings]:
    """Reads what a run directory was made by.

    Args:
        path: the run directory.
        data_dir: see `TrainingSettings`.

    Returns:
        The experiment and its settings.

    Raises:
        SettingsError: if the directory is of no experiment or of another version.
    """
    found = read_json(path / "settings.json")
    name = found.pop("experiment", None)
    if name not in EXPERIMENTS:
        known = ", ".join(EXPERIMENTS)
        raise SettingsError(f"{path} is a run of {name}, not of {known}.")
    experiment = EXPERIMENTS[name]
    values: dict[str, Any] = {
        field: tuple(value) if isinstance(value, list) else value
        for field, value in found.items()
    }
    place = {"runs": path.parent, "name": path.name, "data_dir": data_dir}
    try:
        settings = dataclasses.replace(experiment.presets["quick"], **values, **place)
    except TypeError as error:
        raise SettingsError(
            f"{path} was made by another version of {name}: {error}"
        ) from error
    return experiment, settings
