"""What the portraits of GRUs, and the units that learned, are held against."""

import math
from collections.abc import Sequence

import numpy as np

from experiments.experiment import Check
from experiments.gru_fitting import CycleRun, RingRun
from experiments.gru_flows import HOPF, SADDLES_AND_NODES, fold
from experiments.gru_portraits import BESIDE, SPEEDS, Portraits, slopes
from gradstab.dynamics import PeriodicOrbit


def portrait_checks(found: Portraits, precision: float) -> list[Check]:
    """Tests P1 to P4 against what is known of them.

    Args:
        found: what was measured.
        precision: to which folds were bisected.

    Returns:
        The claims.
    """
    folds = [(one, fold(weight)) for weight, one in found.folds.items()]
    ratios = [one.orbit.period / one.plane_period for one in found.turns]
    below, above = found.window[SADDLES_AND_NODES]
    before, after = found.window[HOPF]
    saddle = next((one for one in found.rests if one.kind == "saddle"), None)
    values = np.real(saddle.eigenvalues) if saddle else np.full(2, np.nan)
    law, steps = math.log(10) / values[0], slopes(found.orbits)
    least = min(found.orbits)
    return [
        Check(
            f"P1: a pitchfork at u = 2 and folds as in closed form, to {precision:g}",
            abs(found.pitchfork - 2) <= precision
            and all(abs(one - exact) <= precision for one, exact in folds),
            ", ".join(
                [f"u = {found.pitchfork:.5f}"]
                + [f"b = {one:.5f} for {exact:.6f}" for one, exact in folds]
            ),
        ),
        Check(
            "P2: nine fixed points below π/21.2525 and an unstable focus above, "
            f"a stable one from arccos(2/3) on, to {BESIDE:g}",
            (len(below), above) == (9, ["unstable focus"])
            and (before, after) == (["unstable focus"], ["stable focus"]),
            f"{len(below)} and {len(above)}; {before[0]} and {after[0]}",
        ),
        Check(
            "P2: no cycle outside that window",
            not any(found.outside),
            "none" if not any(found.outside) else "there is one",
        ),
        Check(
            "P2: periods twice those of the flow -h + tanh(1.5 R(θ) h)",
            bool(np.allclose(ratios, 2, rtol=1e-8, atol=0)),
            ", ".join(f"{ratio:.10f}" for ratio in ratios),
        ),
        Check(
            "P3: a node, a saddle with -0.57246 and 0.55696, a focus, as above δ*",
            [one.kind for one in found.rests] == list(found.rests_above)
            and found.rests_above == ["stable node", "saddle", "unstable focus"]
            and bool(np.allclose(values, [0.55696, -0.57246], rtol=0, atol=5e-6)),
            f"{', '.join(found.rests_above)}; {values[1]:.5f} and {values[0]:.5f}",
        ),
        Check(
            "P3: a cycle below δ* = 0.1098957, the saddle's own loop, and none above",
            abs(found.meeting - 0.1098957) < 5e-8 and not found.cycle_above,
            f"δ* = {found.meeting:.10f}; at a distance of {least:g} "
            f"{'one' if found.cycle_above else 'none'} above",
        ),
        Check(
            "P3: the period grows by ln(10) / 0.55696 a decade, the last within 1 %",
            bool(steps) and abs(steps[-1] / law - 1) < 0.01,
            f"{', '.join(f'{one:.3f}' for one in steps)} for {law:.3f}",
        ),
        Check(
            "P4: one fixed point, the origin, with eigenvalues 0 and -1/2",
            len(found.line) == 1
            and bool(np.max(np.abs(found.line[0].state)) < 1e-3)
            and bool(np.allclose(found.line[0].eigenvalues, [0, -0.5], atol=1e-9)),
            f"{len(found.line)} found, merged from places as far apart as "
            f"{', '.join(f'{one.spread:.1e}' for one in found.line)}",
        ),
        Check(
            "P4: the largest speeds along the line, to two digits",
            all(f"{found.speeds[r]:.1e}" == f"{v:.1e}" for r, v in SPEEDS.items()),
            ", ".join(f"{v:.1e} to |h₁| = {r}" for r, v in found.speeds.items()),
        ),
    ]


def fitting_checks(
    orbit: PeriodicOrbit, cycles: Sequence[CycleRun], rings: Sequence[RingRun]
) -> list[Check]:
    """Tests that cycles are learned, and that rings are not.

    Args:
        orbit: the teacher's.
        cycles: what came of those that learned it.
        rings: what came of those that learned the ring.

    Returns:
        The claims.
    """
    periods = [one.orbit.period if one.orbit else math.nan for one in cycles]
    ends = [[held for held in one.held_by if held] for one in rings]
    starts = [one.paths.shape[1] for one in rings]
    return [
        Check(
            "after ten free periods every unit is on a cycle, of a period within 5 %",
            all(abs(one / orbit.period - 1) <= 0.05 for one in periods),
            f"{', '.join(f'{one:.3f}' for one in periods)} for {orbit.period:.3f}",
        ),
        Check(
            "of the ring finitely many fixed points are left, where every run ends",
            all(sum(held) == n for held, n in zip(ends, starts, strict=True)),
            ", ".join(
                f"{sum(held)} of {n} at {len(held)} of {len(one.rests)}"
                for held, n, one in zip(ends, starts, rings, strict=True)
            ),
        ),
    ]
