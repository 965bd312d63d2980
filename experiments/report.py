"""Tables and figures of runs: `python -m experiments report RUNS...`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from experiments.catalog import EXPERIMENTS
from experiments.experiment import Experiment
from experiments.figure import draw_figure, draw_scores
from experiments.methods import METHODS
from experiments.outcome import Outcome, as_json, read_outcomes
from experiments.report_formats import FORMATS, Section
from experiments.run_directory import write_whole
from experiments.settings import TrainingSettings

# Settings that say how a run was made, not what.
_WAY = {"preset", "methods", "runs", "name", "force", "device", "evaluate_every"}
_WAY |= {"data_dir", "tensorboard", "save_every"}


@dataclass(frozen=True)
class ReportSettings:
    """Gathers runs into one report, with tables and figures.

    Attributes:
        runs: their directories.
        format: Markdown, LaTeX for booktabs, or one page of HTML.
        output: directory for the report and its figures.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    format: Literal["markdown", "latex", "html"] = "markdown"
    output: Path = Path("report")

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        if not self.runs:
            return ["report needs at least one run directory."]
        return [
            f"{run} holds no run: it has no settings.json."
            for run in self.runs
            if not (run / "settings.json").is_file()
        ]


def write_report(settings: ReportSettings) -> Path:
    """Writes the report and its figures.

    Args:
        settings: they have no problems.

    Returns:
        The file of the report.
    """
    outcomes = [outcome for run in settings.runs for outcome in read_outcomes(run)]
    figures = settings.output / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    sections = [
        section(outcome, figures, f"{place}-{outcome.result['name']}")
        for place, outcome in enumerate(outcomes, 1)
    ]
    if len(outcomes) > 1:
        sections.insert(0, overview(outcomes))
    name, render = FORMATS[settings.format]
    file = settings.output / name
    write_whole(file, render(sections))
    print("report:", file)
    return file


def overview(outcomes: Sequence[Outcome]) -> Section:
    """Makes a table of the scores of all comparisons, a column for each."""
    titles = [heading(outcome) for outcome in outcomes]
    scores = [
        {one["method"]: mean_score(one) for one in outcome.result["methods"]}
        for outcome in outcomes
    ]
    labels = [
        f"{title}: {outcome.result['score_label']}"
        for title, outcome in zip(titles, outcomes, strict=True)
    ]
    return Section(
        title="All runs",
        header=("method", *titles),
        rows=[
            [METHODS[method].title, *(found.get(method, "–") for found in scores)]
            for method in METHODS
            if any(method in found for found in scores)
        ],
        notes=[f"Scores on the test sets. {'; '.join(labels)}."],
        figures=[],
    )


def section(outcome: Outcome, figures: Path, stem: str) -> Section:
    """Makes the section of one comparison, and draws its figures.

    Args:
        outcome: the comparison.
        figures: directory of the figures.
        stem: how their names begin.

    Returns:
        The section.
    """
    result, drawing = outcome.result, outcome.drawing()
    files = [
        draw_figure([drawing], figures / f"{stem}-curves")[0],
        draw_scores(drawing, figures / f"{stem}-scores")[0],
    ]
    checks = [
        f"{'Met' if one['met'] else 'NOT MET'}: {one['claim']} ({one['why']})."
        for one in result["checks"]
    ]
    used = outcome.circumstances
    papers = published(outcome)
    columns = [columns_of(method, papers) for method in result["methods"]]
    return Section(
        title=heading(outcome),
        header=("method", f"test {result['score_label']}", *columns[0]),
        rows=[
            [METHODS[method["method"]].title, mean_score(method), *cells.values()]
            for method, cells in zip(result["methods"], columns, strict=True)
        ],
        notes=[
            f"Mean ± standard deviation over {len(result['seeds'])} seed(s), of the "
            f"parameters that scored best in validation. "
            f"Baseline, {result['baseline_label']}: {result['baseline']:.4f}.",
            f"Part of the paper's budget: {result['budget']}.",
            *differences(outcome),
            *checks,
            f"gradstab {used['gradstab']}, jax {used['jax']}, flax {used['flax']}, on "
            f"{', '.join(used['devices'])}; revision {str(used['git_revision'])[:10]}.",
        ],
        figures=files,
    )


def heading(outcome: Outcome) -> str:
    """Names a comparison and its run."""
    return f"{outcome.result['title']}: {outcome.run.name}"


def mean_score(method: Mapping[str, Any]) -> str:
    """Writes the mean score of a method, and its spread over seeds."""
    scores = np.array(method["scores"])
    spread = f" ± {scores.std(ddof=1):.4f}" if len(scores) > 1 else ""
    return f"{scores.mean():.4f}{spread}"


def columns_of(
    method: Mapping[str, Any], papers: Mapping[Any, float]
) -> Mapping[str, str]:
    """Makes the other cells of a method, under their headings."""
    pace = method["milliseconds_per_step"]
    gradient = np.array(method["gradient"], float)
    paper = papers.get(method["method"])
    first, last = (pick(method["best_steps"]) for pick in (min, max))
    return {
        **({"paper": "–" if paper is None else f"{paper:.3f}"} if papers else {}),
        "parameters": f"{method['parameters']:,}",
        "diverged": str(method.get("diverged", "–")),
        "best step": f"{first:,}" if first == last else f"{first:,} to {last:,}",
        "ms a step": "–" if pace is None else f"{pace:.2f}",
        "gradient over time": f"{np.nanmin(gradient):.0e} to {np.nanmax(gradient):.0e}",
    }


def paper_preset(
    outcome: Outcome,
) -> tuple[Experiment | None, TrainingSettings | None]:
    """Looks up the experiment of a run, and the setting of its paper; None for none."""
    experiment = EXPERIMENTS.get(outcome.experiment)
    if experiment is None:
        return None, None
    return experiment, experiment.presets.get("paper")


def published(outcome: Outcome) -> Mapping[Any, float]:
    """Looks up the papers' scores, if the run is of what they were scored on."""
    experiment, paper = paper_preset(outcome)
    if experiment is None or paper is None:
        return {}
    is_same = all(
        outcome.settings.get(name) == getattr(paper, name)
        for name in experiment.published_for
    )
    return dict(experiment.published) if is_same else {}


def differences(outcome: Outcome) -> Sequence[str]:
    """Lists the settings that are not those of the paper."""
    _, paper = paper_preset(outcome)
    if paper is None:
        return []
    unlike = [
        f"{name.replace('_', ' ')} {outcome.settings[name]} (paper: {value})"
        for name, value in as_json(asdict(paper)).items()
        if name not in _WAY and outcome.settings.get(name, value) != value
    ]
    return [f"Unlike the preset paper: {'; '.join(unlike)}."] if unlike else []
