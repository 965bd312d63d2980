"""Phase portraits of gated recurrent units, side by side, and what units learned."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.lines
import matplotlib.ticker
import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.figure import STYLE, save
from experiments.gru_fitting import RADIUS, CycleRun, RingRun, free_run
from experiments.gru_flows import Field, fold, homoclinic, pseudo_line, turning
from experiments.gru_portraits import NEAR_FOCUS, SQUARE, WEIGHTS, Portraits
from gradstab.dynamics import FixedPoint, PeriodicOrbit, grid_points, nullclines

BLUE, ORANGE, GREEN, INK = "#0072B2", "#D55E00", "#009E73", "#1a1a1a"
NULLCLINES: tuple[dict[str, Any], ...] = (
    {"color": BLUE},
    {"color": ORANGE, "linestyle": (0, (4, 1.5))},
)
MARKERS: dict[str, dict[str, Any]] = {
    "stable node": {"marker": "o", "markerfacecolor": INK},
    "stable focus": {"marker": "s", "markerfacecolor": INK},
    "saddle": {"marker": "X", "markerfacecolor": "white", "markersize": 8},
    "unstable node": {"marker": "o", "markerfacecolor": "white"},
    "unstable focus": {"marker": "s", "markerfacecolor": "white"},
    "degenerate": {"marker": "*", "markerfacecolor": "#F0E442", "markersize": 12},
}
GRID = 61  # points of a stream plot along each axis
LOOK: dict[Any, Any] = {**STYLE, "font.size": 11, "axes.titlesize": 11}


def draw_portraits(found: Portraits, path: Path) -> list[Path]:
    """Draws P1 to P4 and the periods of P3.

    Args:
        found: what was measured.
        path: where to, without the ending.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(7.8, 6.2), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        (first, second, third), (fourth, fifth, sixth) = figure.subplots(2, 3)
        _draw_folds(first, found)
        middle = found.turns[-1]
        degrees = round(math.degrees(middle.angle))
        cycle = np.asarray(middle.orbit.states)
        draw_flow(second, turning(middle.angle), SQUARE, middle.rests, [cycle])
        second.set_title(rf"P2: limit cycle, $\theta = {degrees}°$", loc="left")
        box = ((-1.05, 0.65), (-1.0, 0.7))
        widest = max(found.orbits)
        for axes, offset in ((fourth, -widest), (fifth, 1e-2)):
            field = homoclinic(found.meeting + offset)
            if offset < 0:
                curve = np.asarray(found.orbits[widest].states)
            else:
                start = jnp.asarray([NEAR_FOCUS])
                curve = free_run(field, start, 80.0, hop=0.1)[1][:, 0]
            draw_flow(axes, field, box, found.rests, [curve])
            axes.set_title(rf"P3: $\delta = \delta^* {offset:+g}$", loc="left")
        edge = (-1.4, 0.0, 1.4)
        around = jnp.asarray([(x, y) for x in edge for y in edge if x != -y])
        _, paths = free_run(pseudo_line(), around, 30.0, hop=0.1)
        box = ((-1.5, 1.5), (-1.5, 1.5))
        draw_flow(third, pseudo_line(), box, found.line, list(paths.swapaxes(0, 1)))
        third.set_title("P4: pseudo-line", loc="left")
        _draw_periods(sixth, found)
        _legend(figure, [second, third, fourth])
        return save(figure, path)


def draw_fits(
    orbit: PeriodicOrbit,
    cycles: Sequence[CycleRun],
    rings: Sequence[RingRun],
    path: Path,
) -> list[Path]:
    """Draws what units learned of a cycle, and what is left of a ring.

    Args:
        orbit: the teacher's.
        cycles: what came of those that learned it.
        rings: what came of those that learned the ring.
        path: where to, without the ending.

    Returns:
        The files written.
    """
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(7.8, 3.3), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        first, second, third = figure.subplots(1, 3)
        first.plot(*np.asarray(orbit.states).T, color="0.55", linewidth=4, label="true")
        for place, one in enumerate(cycles):
            label = "learned" if place == 0 else None
            first.plot(*one.path.T, color=GREEN, linewidth=0.8, label=label)
        first.set_title("Van der Pol's cycle", loc="left")
        first.legend(frameon=False, fontsize=9, loc="center", handlelength=1.2)
        first.set_aspect("equal")
        _name(first)
        # The one that kept most of it.
        shown = max(rings, key=lambda one: len(one.rests))
        paths = list(shown.paths.swapaxes(0, 1))
        draw_flow(second, shown.field, SQUARE, shown.rests, paths)
        angles = np.linspace(0, 2 * np.pi, 200)
        circle = RADIUS * np.stack([np.cos(angles), np.sin(angles)])
        second.plot(*circle, color="0.55", linewidth=3.5, zorder=2)
        second.set_title("What a ring came to", loc="left")
        times = np.maximum(shown.times, shown.times[1] / 2)
        turned = np.unwrap(np.arctan2(*shown.paths.T[::-1]), axis=-1).T
        third.plot(times, np.degrees(turned), color=GREEN, linewidth=0.8)
        third.set_xscale("log")
        third.set_xlabel("time")
        third.set_ylabel("angle (degrees)")
        third.yaxis.set_major_locator(matplotlib.ticker.MultipleLocator(90))
        third.set_title("Its runs along the ring", loc="left")
        _legend(figure, [second])
        return save(figure, path)


def draw_flow(
    axes: Any,
    field: Field,
    box: tuple[tuple[float, float], tuple[float, float]],
    points: Sequence[FixedPoint],
    curves: Sequence[Float[np.ndarray, "times 2"]],
) -> None:
    """Draws a planar flow: stream lines, nullclines, fixed points and trajectories.

    Args:
        axes: where to.
        field: the flow.
        box: a row (low, high) for each coordinate.
        points: the fixed points to mark.
        curves: the trajectories.
    """
    velocities = np.asarray(jax.jit(jax.vmap(field))(grid_points(box, GRID)))
    sides = [np.linspace(low, high, GRID) for low, high in box]
    along = velocities.reshape(GRID, GRID, 2).transpose(2, 1, 0)
    axes.streamplot(
        *sides, *along, color="0.72", linewidth=0.6, arrowsize=0.6, density=0.8
    )
    for lines, look in zip(nullclines(field, box), NULLCLINES, strict=True):
        for line in lines:
            axes.plot(*line.T, linewidth=1.4, zorder=3, **look)
    for curve in curves:
        width = 2.2 if len(curves) == 1 else 0.9
        axes.plot(*np.asarray(curve).T, color=GREEN, linewidth=width, zorder=4)
    for point in points:
        style = {"markersize": 6, "markeredgecolor": INK, **MARKERS[point.kind]}
        axes.plot(*point.state, linestyle="none", zorder=5, label=point.kind, **style)
    axes.set(xlim=box[0], ylim=box[1])
    axes.set_aspect("equal")
    _name(axes)


def _draw_folds(axes: Any, found: Portraits) -> None:
    heights = np.linspace(-0.9995, 0.9995, 3999)
    for weight, color in ((2.0, ORANGE), *zip(WEIGHTS, (BLUE, GREEN), strict=True)):
        biases = np.arctanh(heights) - weight / 2 * heights
        holds = weight / 2 * (1 - heights**2) < 1
        for stable, dash in ((True, "-"), (False, (0, (2, 1.2)))):
            shown = np.where(holds == stable, heights, np.nan)
            label = f"$u = {weight:g}$" if stable else None
            axes.plot(biases, shown, color=color, linestyle=dash, label=label)
    for weight, bias in found.folds.items():
        height = math.sqrt(1 - 2 / weight)
        side = math.copysign(1, math.atanh(height) - weight / 2 * height)
        for sign in (-1, 1):
            place = sign * bias, sign * side * height
            axes.plot(*place, "o", color=INK, markersize=4.5, zorder=4)
    axes.plot(0, 0, "o", color=INK, markersize=4.5, zorder=4)
    widest = 1.6 * fold(max(WEIGHTS))
    axes.set(xlim=(-widest, widest), ylim=(-1.05, 1.05))
    axes.set_xlabel("bias $b$ (dashed: unstable)")
    axes.set_ylabel("$h$ at rest")
    axes.set_title("P1: folds", loc="left")
    place = {"loc": "upper right", "bbox_to_anchor": (1.05, 0.9)}
    axes.legend(frameon=False, fontsize=9, handlelength=1.0, **place)


def _draw_periods(axes: Any, found: Portraits) -> None:
    distances = np.asarray(list(found.orbits))
    periods = np.asarray([one.period for one in found.orbits.values()])
    growth = max(float(np.real(p.eigenvalues[0])) for p in found.rests[:2])
    law = periods[-1] - np.log(distances / distances[-1]) / growth
    axes.semilogx(
        distances, law, color="0.45", label=r"$-\ln(\delta^*-\delta)/\lambda$"
    )
    axes.semilogx(distances, periods, "o", color=GREEN, markersize=5, label="found")
    axes.invert_xaxis()
    axes.set_xlabel(r"$\delta^* - \delta$")
    axes.set_ylabel("period")
    axes.set_title("P3: towards the saddle", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper left", handlelength=1.2)


def _name(axes: Any) -> None:
    axes.set_xlabel("$h_1$")
    axes.set_ylabel("$h_2$", labelpad=1)


def _legend(figure: Figure, shown: Sequence[Any]) -> None:
    """Explains nullclines and markers, each kind once."""
    named: dict[str, Any] = {}
    for place, look in enumerate(NULLCLINES, start=1):
        line = matplotlib.lines.Line2D([], [], linewidth=1.4, **look)
        named[rf"$\mathrm{{d}}h_{place}/\mathrm{{d}}t = 0$"] = line
    named["trajectory"] = matplotlib.lines.Line2D([], [], color=GREEN, linewidth=2.2)
    for axes in shown:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(
        named.values(), named, loc="outside lower center", ncols=4, frameon=False
    )
