"""A report as one figure of six panels."""

import textwrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradstab.diagnostics._recurrence_measurement import RecurrenceMeasurement
from gradstab.diagnostics._summary import LOST, mean_exponents

if TYPE_CHECKING:
    from gradstab.diagnostics._report import Report

# Okabe and Ito's colors, told apart by color-blind readers.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GRAY = "#8A8A8A"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "pdf.fonttype": 42,
}
MOST = len(COLORS)  # recurrences in one panel
NAMED = 4  # layers at most that have room for their names
ROWS = 24  # matrices in one panel


def report_figure(report: "Report") -> Figure:
    """Draws a report.

    Args:
        report: what was found.

    Returns:
        A figure of its own, which no window holds.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, 3).ravel()
        found = report.measurement.recurrences[:MOST]
        _gradients(panels[0], found)
        _reach(panels[1], found)
        _exponents(panels[2], found)
        _jacobians(panels[3], found)
        _depth(panels[4], report)
        _last(panels[5], report)
        words = f"{report.verdict.kind}: {report.verdict.evidence}"
        figure.suptitle("\n".join(textwrap.wrap(words, 110)), fontsize=10)
    return figure


def _gradients(axes: Axes, found: tuple[RecurrenceMeasurement, ...]) -> None:
    axes.set_title("Gradient over time")
    if not found:
        return _nothing(axes, "no recurrence")
    floors = []
    for one, color in zip(found, COLORS, strict=False):
        norms = np.asarray(one.gradients, float)
        norms = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
        steps = np.arange(len(norms))
        shown = ~np.isnan(norms).all(axis=1)
        bands = np.full((3, len(norms)), np.nan)
        bands[:, shown] = np.nanquantile(norms[shown], (0.1, 0.5, 0.9), axis=1)
        axes.fill_between(steps, bands[0], bands[2], color=color, alpha=0.2, lw=0)
        axes.plot(steps, bands[1], color=color, label=one.name)
        axes.set_xlim(0, max(len(norms) - 1, 1))
        floors.append(np.nan_to_num(bands[1, -1]))
    axes.set_yscale("log")
    _widen(axes, LOST**2 * min(floors))
    axes.set_xlabel("time step $t$")
    axes.set_ylabel(r"$\|\partial L / \partial h_t\|$, median, 10 to 90 %")
    _legend_below(axes)
    return None


def _reach(axes: Axes, found: tuple[RecurrenceMeasurement, ...]) -> None:
    axes.set_title("Reach of the last state")
    if not found:
        return _nothing(axes, "no recurrence")
    for one, color in zip(found, COLORS, strict=False):
        lags = np.arange(one.reach.log_mean.shape[1])[::-1] + 1
        for logs, style in ((one.reach.log_largest, "-"), (one.reach.log_mean, "--")):
            middle = np.median(np.asarray(logs, float), axis=0) / np.log(10)
            middle = np.where(np.isfinite(middle), middle, np.nan)
            axes.plot(lags, middle, style, color=color)
    axes.axhline(0, color=GRAY, lw=0.8)
    axes.plot([], [], "-", color=GRAY, label="largest singular value")
    axes.plot([], [], "--", color=GRAY, label="root mean square")
    low, high = axes.get_ylim()
    if high - low < 2:
        axes.set_ylim((low + high) / 2 - 1, (low + high) / 2 + 1)
    axes.set_xlabel("steps back, $T - t$")
    axes.set_ylabel(r"$\log_{10} \|\partial h_T / \partial h_t\|$")
    _legend_below(axes)
    return None


def _exponents(axes: Axes, found: tuple[RecurrenceMeasurement, ...]) -> None:
    axes.set_title("Lyapunov exponents")
    if not found:
        return _nothing(axes, "no recurrence")
    for one, color in zip(found, COLORS, strict=False):
        values, errors = mean_exponents(one)
        places = np.arange(1, len(values) + 1)
        errors = np.where(np.isfinite(errors), 2 * errors, 0)
        values = np.where(np.isfinite(values), values, np.nan)
        axes.errorbar(places, values, errors, fmt="o", ms=4, capsize=2, color=color)
    axes.axhline(0, color=GRAY, lw=0.8)
    axes.set_xlabel("number of the exponent")
    axes.set_ylabel("nats a step, ± 2 errors")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return None


def _jacobians(axes: Axes, found: tuple[RecurrenceMeasurement, ...]) -> None:
    axes.set_title("Jacobian of a step")
    if not any(one.jacobian_steps for one in found):
        return _nothing(axes, "not built" if found else "no recurrence")
    for one, color in zip(found, COLORS, strict=False):
        steps = np.asarray(one.jacobian_steps)
        values = np.asarray(one.jacobians.singular_values, float)
        low, middle, high = np.quantile(values, (0, 0.5, 1), axis=1)
        axes.vlines(steps, low, high, color=color, alpha=0.4, lw=3)
        axes.plot(steps, middle, "_", color=color, ms=8)
        radius = np.asarray(one.jacobians.spectral_radius, float)
        axes.plot(steps, radius, "D", color=color, ms=3.5, mfc="white")
    axes.axhline(1, color=GRAY, lw=0.8)
    axes.plot([], [], color=GRAY, alpha=0.5, lw=3, label="singular values")
    axes.plot([], [], "_", color=GRAY, ms=8, label="median")
    axes.plot([], [], "D", color=GRAY, ms=3.5, mfc="white", label="spectral radius")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time step $t$")
    axes.set_ylabel(r"of $\partial h_{t+1} / \partial h_t$")
    _legend_below(axes)
    return None


def _depth(axes: Axes, report: "Report") -> None:
    axes.set_title("Layers")
    depth = report.measurement.depth
    if not depth.names:
        return _nothing(axes, "no layer outside of a recurrence")
    places = np.arange(1, len(depth.names) + 1)
    for values, marker, color, label in (
        (depth.gradients, "o", COLORS[0], r"$\|\partial L / \partial a\|$"),
        (depth.activations, "s", COLORS[4], "rms of the output $a$"),
    ):
        values = np.asarray(values, float)
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        axes.plot(places, values, "-", marker=marker, ms=3, color=color, label=label)
    axes.set_yscale("log")
    _widen(axes, 0)
    axes.set_xlim(0.5, len(places) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer, in the order of the calls")
    if len(places) <= NAMED:
        axes.set_xticks(places, depth.names)
    _legend_below(axes)
    return None


def _last(axes: Axes, report: "Report") -> None:
    """Draws gates if they are known, else constraints, else the size of the state."""
    found = report.measurement.recurrences[:MOST]
    gates = [
        (f"{one.name}\n{name}" if len(found) > 1 else name, gate)
        for one in found
        for name, gate in one.gates.items()
    ]
    if gates:
        return _gates(axes, gates)
    if report.measurement.constraints:
        return _constraints(axes, report)
    axes.set_title("Size of the state")
    if not found:
        return _nothing(axes, "no gate, no constraint")
    for one, color in zip(found, COLORS, strict=False):
        axes.plot(np.median(np.asarray(one.states, float), axis=0), color=color)
    axes.set_xlabel("time step $t$")
    axes.set_ylabel("root mean square of $h_t$")
    axes.set_ylim(bottom=0)
    return None


def _gates(axes: Axes, gates: list[tuple[str, Any]]) -> None:
    axes.set_title("Gates")
    places = np.arange(len(gates))[::-1]
    closed = np.asarray([gate.closed for _, gate in gates], float)
    opened = np.asarray([gate.opened for _, gate in gates], float)
    axes.barh(places, closed, color=COLORS[4], label="below 0.1")
    axes.barh(places, opened, left=1 - opened, color=COLORS[2], label="above 0.9")
    for place, (_, gate) in zip(places, gates, strict=True):
        if gate.time_scales is not None:
            words = f"forgets in {np.median(gate.time_scales):.3g} steps"
            axes.text(0.5, place, words, ha="center", va="center", fontsize=8)
    axes.set_yticks(places, [name for name, _ in gates])
    axes.set_ylim(-0.6, len(gates) - 0.4)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of units and steps")
    _legend_below(axes)


def _constraints(axes: Axes, report: "Report") -> None:
    axes.set_title("Constrained matrices")
    found = list(report.measurement.constraints.items())[:ROWS]
    places = np.arange(len(found))[::-1]
    low = np.asarray([one.smallest for _, one in found], float)
    high = np.asarray([one.largest for _, one in found], float)
    axes.hlines(places, low, high, color=COLORS[0], lw=3, alpha=0.5)
    axes.plot(low, places, "|", color=COLORS[0], ms=14, mew=2.5, zorder=3)
    axes.plot(high, places, "|", color=COLORS[0], ms=14, mew=2.5, zorder=3)
    axes.axvline(1, color=GRAY, lw=0.8)
    axes.set_yticks(places, [name for name, _ in found], fontsize=7)
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlim(0, max(2.0, 1.1 * float(np.nanmax(high))))
    axes.set_xlabel("singular values")


def _nothing(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, ha="center", va="center", color=GRAY)
    axes.set_axis_off()


def _legend_below(axes: Axes) -> None:
    """Puts a legend where no curve is."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=3,
        handlelength=1.5,
        columnspacing=1,
    )


def _widen(axes: Axes, floor: float) -> None:
    """Shows at least two decades, and nothing below a floor."""
    low, high = axes.get_ylim()
    if not 0 < low < high:  # nothing is drawn
        low, high = 0.1, 10
    if high / low < 100:
        middle = (high * low) ** 0.5
        low, high = middle / 10, middle * 10
    axes.set_ylim(max(low, floor), high)
