"""Learning curves beside the gradient over time, as PNG and PDF."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparison import Comparison
from experiments.methods import METHODS
from experiments.settings import MethodName
from experiments.training import Training

# Okabe and Ito's colors, told apart by color-blind readers; dashes for what is not
# constrained tell the two kinds apart in gray.
_LOOKS: dict[MethodName, dict[str, Any]] = {
    "rnn": {"color": "#D55E00", "linestyle": (0, (4, 1.5)), "zorder": 3},
    "gru": {"color": "#E69F00", "linestyle": (0, (1.5, 1))},
    "lstm": {"color": "#CC79A7", "linestyle": (0, (5, 1, 1, 1))},
    "scornn": {"color": "#0072B2"},
    "spectral_rnn": {"color": "#009E73"},
}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
}
# The lower edge of a panel of gradients: what lies below is lost in the rounding of
# float32 beside a gradient of size one, by a margin of a thousand.
SMALLEST_GRADIENT = 1e-10


def draw_figure(comparisons: Sequence[Comparison], path: Path) -> list[Path]:
    """Draws a row of two panels for each comparison.

    Args:
        comparisons: what was run.
        path: where to, without the ending.

    Returns:
        The files written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.4, 2.3 * len(comparisons) + 0.4), dpi=200)
        FigureCanvasAgg(figure)
        figure.set_layout_engine("constrained")
        rows = figure.subplots(len(comparisons), 2, squeeze=False)
        for (left, right), comparison in zip(rows, comparisons, strict=True):
            _draw_curves(left, comparison)
            _draw_gradients(right, comparison)
        handles, labels = rows[0][1].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=4, frameon=False
        )
        files = [path.with_suffix(ending) for ending in (".png", ".pdf")]
        for file in files:
            figure.savefig(file)
    return files


def _draw_curves(axes: Any, comparison: Comparison) -> None:
    task = comparison.task
    for method, training in comparison.trainings.items():
        steps = [measurement.step for measurement in training.measurements]
        scores = np.stack([measurement.score for measurement in training.measurements])
        axes.plot(steps, np.median(scores, axis=1), **_LOOKS[method])
        if scores.shape[1] > 1:
            axes.fill_between(
                steps,
                scores.min(axis=1),
                scores.max(axis=1),
                color=_LOOKS[method]["color"],
                alpha=0.15,
                linewidth=0,
            )
    axes.axhline(task.baseline, color="0.35", linewidth=0.9, linestyle=":")
    axes.annotate(
        task.baseline_label,
        (0.99, task.baseline),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color="0.25",
        fontsize=8,
    )
    axes.set_title(task.title, loc="left")
    axes.set_xlabel("training step")
    axes.set_ylabel(f"validation {task.score_label}")
    axes.set_xlim(0, comparison.settings.steps)
    if task.log_scale:
        # The first measurements tell how large the untrained answers are, no more.
        axes.set_yscale("log")
        axes.set_ylim(top=4 * task.baseline)


def _draw_gradients(axes: Any, comparison: Comparison) -> None:
    for method, training in comparison.trainings.items():
        gradient = _final_gradient(training)
        axes.plot(
            np.arange(gradient.size),
            gradient,
            label=METHODS[method].title,
            **_LOOKS[method],
        )
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(SMALLEST_GRADIENT, axes.get_ylim()[0]))
    axes.set_title("Gradient after training", loc="left")
    axes.set_xlabel("time step t (the answer follows the last)")
    axes.set_ylabel(r"gradient norm $\|\partial L/\partial h_t\|$")


def _final_gradient(training: Training) -> np.ndarray:
    return np.median(training.gradient, axis=0)
