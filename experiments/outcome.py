"""What a run that has ended left on disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.figure import Drawing
from experiments.measurement import curve, from_records
from experiments.run_directory import SettingsError, read_json, read_records


@dataclass(frozen=True)
class Outcome:
    """One comparison of methods, read back.

    Attributes:
        run: the run directory.
        experiment: which one, as on the command line.
        settings: `settings.json`.
        circumstances: of the last start, from `run.json`.
        result: its part of `result.json`.
        records: its part of `metrics.jsonl`.
    """

    run: Path
    experiment: str
    settings: Mapping[str, Any]
    circumstances: Mapping[str, Any]
    result: Mapping[str, Any]
    records: list[dict[str, Any]]

    def drawing(self) -> Drawing:
        """Gathers what the figures show."""
        seeds = len(self.result["seeds"])
        methods = self.result["methods"]
        found = {
            one["method"]: [r for r in self.records if r["method"] == one["method"]]
            for one in methods
        }
        fields = "title", "score_label", "log_scale", "baseline", "baseline_label"
        return Drawing(
            **{field: self.result[field] for field in fields},
            steps=self.result["steps"],
            curves={
                method: curve(from_records(records, seeds))
                for method, records in found.items()
            },
            gradients={
                one["method"]: np.array(one["gradient"], float) for one in methods
            },
            scores={one["method"]: np.array(one["scores"]) for one in methods},
        )


def read_outcomes(run: Path) -> list[Outcome]:
    """Reads the comparisons of a run, one for most and two for the demonstration.

    Args:
        run: the run directory.

    Returns:
        The comparisons.

    Raises:
        SettingsError: if the run has not ended, if one of its files is damaged, or if
            it was made by a version that noted less.
    """
    settings = read_json(run / "settings.json")
    if not (run / "result.json").is_file():
        raise SettingsError(
            f"{run} has not ended; the command that began it goes on with it."
        )
    result = read_json(run / "result.json")
    circumstances = read_json(run / "run.json")
    records = read_records(run)
    try:
        return [
            Outcome(
                run,
                settings["experiment"],
                settings,
                circumstances["starts"][-1],
                one,
                [record for record in records if record["task"] == one["name"]],
            )
            for one in result.get("comparisons", [result])
        ]
    except KeyError as error:
        raise SettingsError(
            f"{run} was made by another version, which did not note {error}; run it "
            "again with --force."
        ) from error


def as_json(value: Any) -> Any:
    """Turns settings into what `settings.json` holds of them."""
    return json.loads(json.dumps(value, default=str))
