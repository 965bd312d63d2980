"""What a search has missed, over its trials."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.figure import STYLE, save


def draw_regret(rewards: Sequence[float], path: Path) -> list[Path]:
    """Draws simple and cumulative regret against the best reward of the search.

    Args:
        rewards: one for each trial, in order.
        path: where to, without the ending.

    Returns:
        The files written.
    """
    missed = np.max(rewards) - np.asarray(rewards)
    trials = np.arange(1, len(rewards) + 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 2.6), dpi=200)
        FigureCanvasAgg(figure)
        figure.set_layout_engine("constrained")
        left, right = figure.subplots(1, 2)
        left.plot(trials, missed, "o", color="0.7", markersize=3, label="of each trial")
        left.step(trials, np.minimum.accumulate(missed), where="post", label="so far")
        left.set_ylabel("reward missed")
        left.legend(frameon=False)
        right.plot(trials, np.cumsum(missed))
        right.set_ylabel("cumulative regret")
        for axes in (left, right):
            axes.set_xlabel("trial")
            axes.set_ylim(bottom=0)
        return save(figure, path)
