"""Learning curves, the gradient over time and final scores, as PNG and PDF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.methods import METHODS
from experiments.run_directory import naming
from experiments.settings import MethodName

# Okabe and Ito's colors, told apart by color-blind readers; dashes for what is not
# constrained tell the two kinds apart in gray.
_LOOKS: dict[MethodName, dict[str, Any]] = {
    "rnn": {"color": "#D55E00", "linestyle": (0, (4, 1.5)), "zorder": 3},
    "orthogonal_start": {"color": "#CC6677", "linestyle": (0, (4, 1.5))},
    "torus_rnn": {"color": "#999933"},
    "leaky_rnn": {"color": "#661100", "linestyle": (0, (5, 1, 1, 1))},
    "limit_cycle": {"color": "#44AA99"},
    "gru": {"color": "#E69F00", "linestyle": (0, (1.5, 1))},
    "lstm": {"color": "#CC79A7", "linestyle": (0, (5, 1, 1, 1))},
    "scornn": {"color": "#0072B2"},
    "exprnn": {"color": "#56B4E9"},
    "spectral_rnn": {"color": "#009E73"},
    "orthogonal_gru": {"color": "#8C6D1F"},
    "orthogonal_lstm": {"color": "#555555"},
    "spectral_gru": {"color": "#B22222"},
    "unprojected_gru": {"color": "#B22222", "linestyle": (0, (4, 1.5))},
    "nc_gru": {"color": "#882255"},
    "enrnn": {"color": "#117733"},
    "sbo_rnn": {"color": "#332288"},
    "h_detach": {"color": "#AA4499"},
    # A clipped method has the color of the same without.
    "clipped_rnn": {"color": "#D55E00", "linestyle": (0, (1, 2))},
    "clipped_gru": {"color": "#E69F00", "linestyle": (0, (1, 2))},
    "clipped_lstm": {"color": "#CC79A7", "linestyle": (0, (1, 2))},
}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
}
COLUMNS = 4  # of a legend
# The lower edge of a panel of gradients: what lies below is lost in the rounding of
# float32 beside a gradient of size one, by a margin of a thousand.
SMALLEST_GRADIENT = 1e-10


@dataclass(frozen=True)
class Drawing:
    """What the figures show of one comparison.

    Attributes:
        title: over its panels.
        score_label: what the scores are.
        log_scale: whether they are drawn on a logarithmic axis.
        baseline: the score of an answer that needs no memory.
        baseline_label: which answer that is.
        steps: training steps of the whole run.
        curves: for each method the steps measured, and the validation scores.
        gradients: for each method ‖∂L/∂h_t‖ after training.
        scores: for each method the test score of each seed.
    """

    title: str
    score_label: str
    log_scale: bool
    baseline: float
    baseline_label: str
    steps: int
    curves: Mapping[
        MethodName, tuple[Int[np.ndarray, " count"], Float[np.ndarray, "count seeds"]]
    ]
    gradients: Mapping[MethodName, Float[np.ndarray, " time"]]
    scores: Mapping[MethodName, Float[np.ndarray, " seeds"]]


def draw_figure(drawings: Sequence[Drawing], path: Path) -> list[Path]:
    """Draws a row of two panels for each comparison: curves and gradients.

    Args:
        drawings: what was run.
        path: where to, without the ending.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 2.4 * len(drawings) + 0.5), dpi=200)
        FigureCanvasAgg(figure)
        figure.set_layout_engine("constrained")
        rows = figure.subplots(len(drawings), 2, squeeze=False)
        for (left, right), drawing in zip(rows, drawings, strict=True):
            _draw_curves(left, drawing)
            _draw_gradients(right, drawing)
        handles, labels = rows[0][1].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=COLUMNS, frameon=False
        )
        return save(figure, path)


def draw_scores(drawing: Drawing, path: Path) -> list[Path]:
    """Draws the test score of every seed, a row for each method, and the mean.

    Args:
        drawing: what was run.
        path: where to, without the ending.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(STYLE):
        height = 1.1 + 0.28 * len(drawing.scores)
        figure = Figure(figsize=(5.2, height), dpi=200)
        FigureCanvasAgg(figure)
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        for place, (method, scores) in enumerate(drawing.scores.items()):
            color = _LOOKS[method]["color"]
            axes.plot(scores, [place] * len(scores), "o", color=color, alpha=0.45)
            axes.plot(np.mean(scores), place, "|", color=color, markersize=14)
        axes.axvline(drawing.baseline, color="0.35", linewidth=0.9, linestyle=":")
        axes.set_yticks(
            range(len(drawing.scores)), [METHODS[name].title for name in drawing.scores]
        )
        axes.set_ylim(len(drawing.scores) - 0.5, -0.5)
        axes.set_xlabel(
            f"test {drawing.score_label}, | its mean\ndotted: {drawing.baseline_label}"
        )
        axes.set_title(drawing.title, loc="left")
        if drawing.log_scale:
            axes.set_xscale("log")
        return save(figure, path)


def save(figure: Figure, path: Path) -> list[Path]:
    """Writes a figure as PNG and PDF, and returns the two files."""
    files = [path.with_suffix(ending) for ending in (".png", ".pdf")]
    for file in files:
        with naming(file):
            figure.savefig(file)
    return files


def _draw_curves(axes: Any, drawing: Drawing) -> None:
    for method, (steps, scores) in drawing.curves.items():
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
    axes.axhline(drawing.baseline, color="0.35", linewidth=0.9, linestyle=":")
    axes.set_title(drawing.title, loc="left")
    axes.set_xlabel(f"training step\ndotted: {drawing.baseline_label}")
    axes.set_ylabel(f"validation {drawing.score_label}")
    axes.set_xlim(0, drawing.steps)
    if drawing.log_scale:
        # The first measurements tell how large the untrained answers are, no more.
        axes.set_yscale("log")
        axes.set_ylim(top=4 * drawing.baseline)


def _draw_gradients(axes: Any, drawing: Drawing) -> None:
    for method, gradient in drawing.gradients.items():
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
