"""Gradients and Lyapunov exponents of networks that nothing drives, drawn."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.cycle_gradients import Gradients
from experiments.figure import STYLE, save

# In the order of the starts: Okabe and Ito's colors, dashes for gray, and widths: the
# second lies upon the first.
LOOKS = (
    ("#0072B2", "-", 3.2),
    ("#56B4E9", "-", 1.0),
    ("#009E73", (0, (5, 1, 1, 1)), 1.2),
    ("#E69F00", (0, (4, 1.5)), 1.2),
    ("#D55E00", (0, (1.5, 1)), 1.2),
)
DECADES = 20  # shown above and below 1


def draw(found: Mapping[str, Gradients], path: Path) -> list[Path]:
    """Draws the norm of the gradient of every seed, and the median exponents.

    Args:
        found: what networks of each start do to a gradient.
        path: where to, without the ending.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 3.4), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        for (name, one), look in zip(found.items(), LOOKS, strict=True):
            look = dict(zip(("color", "linestyle", "linewidth"), look, strict=True))
            with np.errstate(divide="ignore"):
                logs = np.log10(one.norms)
            for place, norms in enumerate(logs):
                left.plot(norms, label=name if place == 0 else None, **look)
            middle = np.median(one.exponents, axis=0)
            right.plot(np.arange(1, middle.size + 1), middle, **look)
        left.set_ylim(-DECADES, DECADES)
        left.margins(x=0)
        left.set_xlabel("time before the end")
        left.set_ylabel(r"$\log_{10}$ of the gradient norm $\|\lambda\|$")
        left.set_title("A gradient on its way back, each seed", loc="left")
        right.axhline(0, color="0.35", linestyle=":", linewidth=0.9)
        right.set_xlabel("number of the exponent")
        right.set_ylabel("Lyapunov exponent (nats per time)")
        right.set_title("The largest exponents, medians", loc="left")
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
        return save(figure, path)
