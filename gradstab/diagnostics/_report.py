"""What a diagnosis has found: a table, a figure, numbers, a verdict."""

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradstab.diagnostics._measure import Measurement
from gradstab.diagnostics._report_table import report_table
from gradstab.diagnostics._summary import RecurrenceSummary, summarize
from gradstab.diagnostics._verdict import (
    Verdict,
    judge_depth,
    judge_recurrence,
    worst,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Report:
    """What the gradients of a model do.

    Args:
        measurement: all arrays, NumPy's.
        clipped: the share of training steps that were clipped, where that is known.

    Raises:
        ValueError: if nothing was measured.
    """

    measurement: Measurement
    clipped: float | None = None

    def __post_init__(self) -> None:
        found = self.measurement
        if not found.recurrences and not found.depth.names:
            seen = ", ".join(found.unseen) or "none"
            raise ValueError(
                "`model` must have a recurrence or a layer that `loss` calls where it "
                f"can be seen; modules with parameters that were not seen: {seen}."
            )

    @functools.cached_property
    def summaries(self) -> tuple[RecurrenceSummary, ...]:
        """The numbers of each recurrence."""
        return tuple(map(summarize, self.measurement.recurrences))

    @functools.cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each recurrence, for depth from four layers on, for a loss of NaN."""
        found = [
            judge_recurrence(summary, _keeps(one))
            for summary, one in zip(
                self.summaries, self.measurement.recurrences, strict=True
            )
        ]
        depth = judge_depth(self.measurement.depth)
        found += [] if depth is None else [depth]
        if not np.isfinite(self.measurement.loss):
            words = "the loss is not finite"
            found.append(Verdict("exploding", "loss", math.inf, words, ""))
        return tuple(found)

    @functools.cached_property
    def verdict(self) -> Verdict:
        """The verdict that matters most; stable if there was nothing to judge."""
        if not self.verdicts:
            few = "fewer than four layers and no recurrence"
            return Verdict("stable", "depth", 0.0, few, "")
        return worst(list(self.verdicts))

    def table(self) -> str:
        """Returns the report as text."""
        return report_table(self)

    def __str__(self) -> str:
        """Returns the table."""
        return self.table()

    def plot(self) -> "Figure":
        """Draws six panels.

        Returns:
            A figure of matplotlib, which must be installed; `Figure.savefig` writes it.
        """
        from gradstab.diagnostics._report_figure import report_figure  # noqa: PLC0415

        return report_figure(self)

    def to_dict(self) -> dict[str, float]:
        """Returns flat numbers for any logger: names with slashes, plain floats.

        What does not apply, such as the step at which a sound state was lost, is NaN.
        """
        found = {"loss": float(self.measurement.loss)}
        if self.clipped is not None:
            found["clipped"] = self.clipped
        for summary, one in zip(
            self.summaries, self.measurement.recurrences, strict=True
        ):
            found |= _flat(summary)
            for name, gate in one.gates.items():
                at = f"recurrence/{summary.name}/gates/{name}"
                found[f"{at}/closed"] = float(gate.closed)
                found[f"{at}/opened"] = float(gate.opened)
                if gate.time_scales is not None:
                    found[f"{at}/time_scale"] = float(np.median(gate.time_scales))
        depth = self.measurement.depth
        for name, size, norm in zip(
            depth.names, depth.activations, depth.gradients, strict=True
        ):
            found[f"depth/{name}/activation"] = float(size)
            found[f"depth/{name}/gradient"] = float(norm)
        for name, constraint in self.measurement.constraints.items():
            at = f"constraints/{name}"
            found[f"{at}/residual"] = float(constraint.residual)
            found[f"{at}/smallest_singular_value"] = float(constraint.smallest)
            found[f"{at}/largest_singular_value"] = float(constraint.largest)
        for verdict in self.verdicts:
            if verdict.where == "depth":
                found["depth/log_growth"] = float(verdict.number)
        return found

    def save(self, directory: str | Path) -> Path:
        """Writes `report.txt`, `report.json`, `report.png` and `report.pdf`.

        Args:
            directory: where to; it is made if need be.

        Returns:
            The directory. In the JSON what is not finite is null.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        numbers = {
            name: value if math.isfinite(value) else None
            for name, value in self.to_dict().items()
        }
        verdicts = [
            {
                "kind": one.kind,
                "where": one.where,
                "evidence": one.evidence,
                "remedy": one.remedy,
            }
            for one in self.verdicts
        ]
        content = {
            "verdict": self.verdict.kind,
            "verdicts": verdicts,
            "unseen": list(self.measurement.unseen),
            "numbers": numbers,
        }
        (directory / "report.txt").write_text(self.table() + "\n", encoding="utf-8")
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (directory / "report.json").write_text(text + "\n", encoding="utf-8")
        figure = self.plot()
        for kind in ("png", "pdf"):
            figure.savefig(directory / f"report.{kind}", dpi=150)
        return directory


def _keeps(one) -> float | None:
    """Returns the median time in which the gates of a cell forget."""
    for gate in one.gates.values():
        if gate.time_scales is not None:
            return float(np.median(gate.time_scales))
    return None


def _flat(summary: RecurrenceSummary) -> dict[str, float]:
    """Names the numbers of one recurrence."""
    found: dict[str, float] = {}
    for field in dataclasses.fields(summary):
        value = getattr(summary, field.name)
        at = f"recurrence/{summary.name}/{field.name}"
        if isinstance(value, np.ndarray):
            found |= {f"{at}/{i + 1}": float(x) for i, x in enumerate(value)}
        elif field.name != "name":
            found[at] = math.nan if value is None else float(value)
    return found
