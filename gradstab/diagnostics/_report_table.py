"""A report as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gradstab.diagnostics._report import Report

ROWS = 12  # of a table of layers or constraints; from more, as many are picked


def report_table(report: "Report") -> str:
    """Writes a report as text.

    Args:
        report: what was found.

    Returns:
        Lines without a trailing newline.
    """
    found = report.measurement
    lines = [f"Verdict: {report.verdict.sentence}", f"Loss: {float(found.loss):.6g}"]
    lines += [
        f"Also: {one.sentence}" for one in report.verdicts if one is not report.verdict
    ]
    if report.clipped is not None:
        lines.append(f"Clipped: {report.clipped:.1%} of the training steps")
    if found.unseen:
        lines.append("Not seen at work: " + ", ".join(found.unseen))
    if report.summaries:
        lines += ["", *_recurrences(report)]
    for one in found.recurrences:
        if one.gates:
            lines += ["", *_gates(one)]
    if found.depth.names:
        lines += ["", *_depth(report)]
    if found.constraints:
        lines += ["", *_constraints(report)]
    return "\n".join(lines)


def _recurrences(report: "Report") -> list[str]:
    """One column a recurrence."""
    found = report.summaries
    rows = [
        ("steps", *(str(one.steps) for one in found)),
        ("‖∂L/∂h‖, first step", *(f"{one.gradient_first:.3g}" for one in found)),
        ("‖∂L/∂h‖, last step", *(f"{one.gradient_last:.3g}" for one in found)),
        ("its slope (nats a step back)", *(_sign(one.gradient_slope) for one in found)),
        ("below 1e-7 of its peak after", *(_steps(one.lost_after) for one in found)),
        ("log ‖∂h_T/∂h_0‖", *(_sign(one.growth) for one in found)),
        ("slope of reach (nats a step)", *(_sign(one.reach_slope) for one in found)),
        (
            "Lyapunov exponent (nats a step)",
            *(f"{one.exponents[0]:+.3g} ± {one.errors[0]:.1g}" for one in found),
        ),
        (
            "singular values of a step",
            *(
                f"{one.smallest_singular_value:.3g} .. {one.largest_singular_value:.3g}"
                for one in found
            ),
        ),
        ("spectral radius of a step", *(f"{one.spectral_radius:.3g}" for one in found)),
        ("growth of the state", *(f"{one.state_growth:.3g}" for one in found)),
    ]
    return _aligned(("recurrence", *(one.name for one in found)), rows)


def _gates(one) -> list[str]:
    rows = []
    for name, gate in one.gates.items():
        times = "" if gate.time_scales is None else _quartiles(gate.time_scales)
        rows.append((name, f"{gate.closed:.1%}", f"{gate.opened:.1%}", times))
    header = f"gates of {one.name}", "below 0.1", "above 0.9", "forgets in (steps)"
    return _aligned(header, rows)


def _depth(report: "Report") -> list[str]:
    depth = report.measurement.depth
    rows = [
        (depth.names[i], f"{depth.activations[i]:.3g}", f"{depth.gradients[i]:.3g}")
        for i in _picked(len(depth.names))
    ]
    return _aligned(("layer", "rms of its output", "‖∂L/∂output‖"), rows)


def _constraints(report: "Report") -> list[str]:
    named = list(report.measurement.constraints.items())
    rows = []
    for i in _picked(len(named)):
        name, one = named[i]
        low, high = one.bounds
        rows.append((
            name,
            one.kind,
            f"{one.smallest:.4g} .. {one.largest:.4g}",
            f"{low:.4g} .. {high:.4g}",
            f"{one.residual:.1e}",
        ))
    header = "constraint", "kind", "singular values", "certified", "residual"
    return _aligned(header, rows)


def _picked(count: int) -> list[int]:
    """Picks rows evenly, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, ROWS))})


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Pads cells: the first column flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]


def _sign(value: float) -> str:
    return f"{value:+.4g}"


def _steps(value: float) -> str:
    return f"{value:.0f} steps" if np.isfinite(value) else "never"


def _quartiles(values) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.3g} ({low:.3g} .. {high:.3g})"
