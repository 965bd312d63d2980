"""What the gradients of a run do: `python -m experiments diagnose RUN`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.diagnosis import diagnose, print_diagnosis
from experiments.run_directory import SettingsError, write_json
from experiments.saved_run import read_run


@dataclass(frozen=True)
class DiagnoseSettings:
    """Measures the gradients of the networks that a run has saved.

    Attributes:
        run: its directory.
        data_dir: folder with the files of its data set, if it reads any.
    """

    run: tyro.conf.Positional[Path]
    data_dir: Path | None = None

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        if not (self.run / "settings.json").is_file():
            return [f"{self.run} holds no run: it has no settings.json."]
        return []


def run_diagnosis(settings: DiagnoseSettings) -> None:
    """Rebuilds the models of a run and says what their gradients do.

    It prints verdicts and tables, and writes `diagnosis.json` and, in `diagnosis`, the
    report on each network.

    Args:
        settings: they have no problems.

    Raises:
        SettingsError: if the run has saved no model.
    """
    experiment, chosen = read_run(settings.run, settings.data_dir)
    task = experiment.task(chosen)
    folder = settings.run / "checkpoints" / task.name
    reports = settings.run / "diagnosis"
    found = [
        one
        for method in chosen.methods
        if (one := diagnose(task, method, chosen, folder / method, reports))
    ]
    if not found:
        raise SettingsError(f"{settings.run} has saved no model yet.")
    file = settings.run / "diagnosis.json"
    write_json(file, {"methods": found})
    for one in found:
        print_diagnosis(one)
    print("diagnosis:", file)
    print("reports:", reports)
