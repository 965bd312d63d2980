"""A planar flow in one picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from gradstab._checks import check_integer
from gradstab.dynamics._extras import extra
from gradstab.dynamics._fixed_points import (
    FixedPoint,
    find_fixed_points,
    warn_of_rest,
)
from gradstab.dynamics._grid_points import grid_points
from gradstab.dynamics._nullclines import nullclines
from gradstab.dynamics._stability import Kind
from gradstab.dynamics._vector_field import VectorField, check_box
from gradstab.dynamics._velocity_grid import velocity_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colors, told apart by color-blind readers; what attracts is filled.
_INK, _PAPER = "#1a1a1a", "#ffffff"
_MARKERS: dict[Kind, dict[str, Any]] = {
    "stable node": {"marker": "o", "markerfacecolor": _INK},
    "stable focus": {"marker": "s", "markerfacecolor": _INK},
    "saddle": {"marker": "X", "markerfacecolor": _PAPER, "markersize": 10},
    "unstable node": {"marker": "o", "markerfacecolor": _PAPER},
    "unstable focus": {"marker": "s", "markerfacecolor": _PAPER},
    "center": {"marker": "D", "markerfacecolor": _PAPER},
    "degenerate": {"marker": "*", "markerfacecolor": "#F0E442", "markersize": 14},
}
_NULLCLINES = ({"color": "#0072B2"}, {"color": "#D55E00", "linestyle": (0, (4, 1.5))})
_TRAJECTORY = {"color": "#009E73", "linewidth": 2.6}


def phase_portrait(
    field: VectorField,
    box: ArrayLike,
    *,
    resolution: int = 201,
    points: Sequence[FixedPoint] | None = None,
    trajectories: Sequence[ArrayLike] = (),
    labels: tuple[str, str] = ("$h_1$", "$h_2$"),
) -> "Figure":
    """Draws a planar flow dh/dt = f(h): where it goes, how fast, and where it rests.

    Stream lines over the speed ‖f‖ on a logarithmic gray scale, dark where the flow is
    slow, and the slowest half percent alike; the nullclines of both components; the
    fixed points, filled where they attract, with a round marker for nodes, a square one
    for foci and a cross for saddles; and any trajectories, such as
    `periodic_orbit(...).states`. Where f is NaN or infinite nothing is drawn.
    Needs matplotlib, of the extra `dynamics`.

    Args:
        field: f, a pure function of one state of shape (2,).
        box: shape (2, 2), a row (low, high) for each coordinate.
        resolution: points of the grid along each axis, at least 2.
        points: the fixed points to mark; found from a grid of starts if None.
        trajectories: curves of shape (times, 2).
        labels: what the coordinates are called, with mathematics between dollars.

    Returns:
        A figure, of no graphical front end: `figure.savefig("portrait.png")`.

    Raises:
        ValueError: if an argument has another shape or dtype, or lies out of range.
        ModuleNotFoundError: without matplotlib, contourpy or optimistix.
    """
    found = check_box(box, 2)
    check_integer("resolution", resolution, 2)
    curves = [np.asarray(trajectory, np.float64) for trajectory in trajectories]
    for curve in curves:
        if curve.ndim != 2 or curve.shape[1] != 2:
            raise ValueError(
                f"`trajectories` must have shape (times, 2) each, got {curve.shape}."
            )
    _check_labels(labels)
    if points is None:
        starts = grid_points(found, 15)
        points = find_fixed_points(field, starts)
        warn_of_rest(points, starts, stacklevel=3)
    _check_points(points)
    figure = extra("matplotlib.figure").Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    _draw_speed(figure, axes, field, found, resolution)
    for index, lines in enumerate(nullclines(field, found, resolution=resolution)):
        for line in lines:
            axes.plot(*line.T, linewidth=1.8, zorder=3, **_NULLCLINES[index])
        label = _at_rest(labels[index])
        axes.plot([], [], linewidth=1.8, label=label, **_NULLCLINES[index])
    for index, curve in enumerate(curves):
        label = "trajectory" if index == 0 else None
        axes.plot(*curve.T, zorder=4, label=label, **_TRAJECTORY)
    _mark(axes, points, found)
    axes.set(xlim=found[0], ylim=found[1])
    axes.set_xlabel(labels[0], fontsize=14)
    axes.set_ylabel(labels[1], fontsize=14)
    axes.tick_params(labelsize=11)
    axes.locator_params(nbins=5)
    axes.set_aspect("equal" if _is_square(found) else "auto")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=11)
    return figure


def _draw_speed(
    figure: "Figure", axes: "Axes", field: VectorField, box: np.ndarray, resolution: int
) -> None:
    first, second, velocities = velocity_grid(field, box, resolution)
    velocities = np.ma.masked_invalid(velocities)
    velocities[np.any(np.ma.getmaskarray(velocities), axis=-1)] = np.ma.masked
    speeds = np.ma.sqrt(np.ma.sum(velocities**2, axis=-1))
    known = speeds.compressed()
    if not known.size:
        raise ValueError("`field` must be finite somewhere in `box`.")
    # A grid point that lies on a fixed point would stretch the scale without end.
    least = float(np.percentile(known, 0.5))
    floor = max(least, 1e-6 * float(np.max(known)), float(np.finfo(float).tiny))
    shown = np.ma.log10(np.ma.maximum(speeds, floor))
    image = axes.pcolormesh(
        first, second, shown, cmap="Greys_r", shading="gouraud", rasterized=True
    )
    # The dark end of the scale is for ink.
    low, high = float(shown.min()), float(shown.max())
    image.set_clim(low - 0.6 * (high - low) - 0.1, high)
    bar = figure.colorbar(image, ax=axes, shrink=0.9)
    bar.ax.tick_params(labelsize=11)
    bar.ax.set_ylim(low, high if high > low else low + 0.1)
    bar.set_label(r"speed $\log_{10} \| \mathrm{d}h/\mathrm{d}t \|$", fontsize=12)
    axes.streamplot(
        first,
        second,
        velocities[..., 0],
        velocities[..., 1],
        color="#4d4d4d",
        linewidth=0.7,
        arrowsize=0.9,
        density=1.1,
        zorder=2,
    )


def _mark(axes: "Axes", points: Sequence[FixedPoint], box: np.ndarray) -> None:
    inside = [
        p for p in points if np.all((box[:, 0] <= p.state) & (p.state <= box[:, 1]))
    ]
    for kind, look in _MARKERS.items():
        states = np.asarray([point.state for point in inside if point.kind == kind])
        if len(states):
            style = {"markersize": 8, "markeredgecolor": _INK, **look}
            style |= {"linestyle": "none", "markeredgewidth": 1.4, "clip_on": False}
            axes.plot(*states.T, zorder=5, label=kind, **style)


def _at_rest(label: str) -> str:
    if label.count("$") == 2 and label.startswith("$") and label.endswith("$"):
        return rf"$\mathrm{{d}}{label.strip('$')}/\mathrm{{d}}t = 0$"
    return f"d {label} / dt = 0"


def _check_labels(labels: Any) -> None:
    if (
        isinstance(labels, str)
        or len(labels) != 2
        or not all(isinstance(label, str) for label in labels)
    ):
        raise ValueError(f"`labels` must be two strings, got {labels!r}.")


def _check_points(points: Any) -> None:
    for point in points:
        if not isinstance(point, FixedPoint) or point.state.shape != (2,):
            raise ValueError(
                "`points` must be fixed points of the plane, as `fixed_points` gives "
                f"them, got {point!r}."
            )


def _is_square(box: np.ndarray) -> bool:
    width, height = np.ptp(box, axis=1)
    return bool(0.5 < width / height < 2)
