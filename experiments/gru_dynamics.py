"""Rest, cycles and a homoclinic loop in small GRUs: `... gru_dynamics`.

Jordan, Sokol & Park ("Gated Recurrent Units Viewed Through the Lens of Continuous Time
Dynamical Systems", Frontiers in Computational Neuroscience 15, 2021, arXiv:1906.01005)
draw what one or two units can do between inputs: several fixed points, limit cycles,
a homoclinic loop, and a line that is all but at rest; a continuum of fixed points they
could not train. Their parameters were not at hand: the four units P1 to P4 here are our
own (see `gru_flows`), held against closed forms and against each other. Then units are
trained, by short windows of a teacher's flow, on van der Pol's cycle and on a ring
towards which all flows and on which nothing moves, and left to themselves.

What came out. P1: its folds lie where the closed form has them. P2: its cycle lives in
the window of angles, with twice the period of the plane's flow. P3: the loop closes at
δ* = 0.1098957076, by the unstable manifold of the saddle and by the end of the cycle.
The period grows by 4.17 a decade where ln(10)/λ = 4.134 is the
limit: the saddle's eigenvalues all but cancel (their ratio is 1.028), so that the limit
is approached as slowly as (δ* - δ) to the power 0.028; from the Floquet multiplier of
0.268 at a distance of 1e-5 one expects 4.175. P4: one fixed point, and speeds to two
digits as derived.

After 2,000 steps and ten free periods three units of three turn on van der Pol's cycle
with periods of 13.630, 13.488 and 13.567 for 13.327, their curves up to 0.08 aside. Of
the ring 7, 3 and 5 fixed points are left, of which 3, 2 and 3 attract and hold all 24
states that were on it; their median way is 0.27 to 0.45, where the radius is 0.5.

Van der Pol's time runs at half its speed: no unit is faster than 1 + |h|. Windows start
up to some 0.1 off the orbit, else nothing says that it attracts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from experiments.gru_checks import fitting_checks, portrait_checks
from experiments.gru_figure import draw_fits, draw_portraits
from experiments.gru_fitting import (
    CycleRun,
    RingRun,
    fit_cycle,
    fit_ring,
)
from experiments.gru_flows import fold
from experiments.gru_portraits import (
    Portraits,
    portraits,
    slopes,
)
from experiments.limits import Limited
from experiments.table import print_table
from gradstab.dynamics import PeriodicOrbit

Part = Literal["portraits", "fits"]


@dataclass(frozen=True)
class GruDynamicsSettings(Limited):
    """Portraits of gated recurrent units as flows, and what such units learn.

    Attributes:
        parts: what to run: known units, units that are trained, or both.
        precision: to which folds are bisected.
        angles: of the rotation that makes a limit cycle, in degrees.
        distances: from the homoclinic loop, falling.
        windows: of a step of training.
        steps: of training on a cycle, by Adam.
        ring_steps: of training on a ring.
        learning_rate: of training.
        seeds: units that learn the cycle, and as many the ring.
        duration: of the free run that starts on the ring.
        starts: states on the ring that it starts from.
        figure: what the two figures are called: its ending is -portraits and -fits.
    """

    parts: tuple[Part, ...] = ("portraits", "fits")
    precision: float = 1e-4
    angles: tuple[float, ...] = (15.0, 30.0)
    distances: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    windows: int = 64
    steps: int = 2000
    ring_steps: int = 4000
    learning_rate: float = 1e-2
    seeds: tuple[int, ...] = (0, 1, 2)
    duration: float = 2000.0
    starts: int = 24
    figure: Path = Path("runs/gru_dynamics")

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "windows", "steps", "ring_steps", "starts")
        if not 1e-6 <= self.precision <= 0.1:
            found.append("--precision must lie between 1e-6 and 0.1.")
        if not self.angles or not all(8.5 < angle < 48.1 for angle in self.angles):
            found.append("--angles must lie between 8.5 and 48.1, at least one.")
        falling = sorted(set(self.distances), reverse=True) == list(self.distances)
        if not (falling and all(1e-8 <= one <= 0.02 for one in self.distances or (0,))):
            found.append("--distances must fall, from 0.02 to 1e-8 at most.")
        if not (self.learning_rate > 0 and 1 <= self.duration <= 1e5):
            found.append(
                "--learning-rate must be above 0, and --duration between 1 and 100,000."
            )
        if not (self.seeds and self.parts):
            found.append("--seeds and --parts must name at least one.")
        return found


def run_gru_dynamics(settings: GruDynamicsSettings) -> None:
    """Measures and trains; prints tables and claims, and draws two figures.

    Args:
        settings: they have no problems.
    """
    settings.figure.parent.mkdir(parents=True, exist_ok=True)
    with jax.enable_x64(True):  # in single precision slow states look like fixed ones
        if "portraits" in settings.parts:
            run_portraits(settings)
        if "fits" in settings.parts:
            run_fits(settings)


def run_portraits(settings: GruDynamicsSettings) -> None:
    """Measures the four known units, and draws their portraits."""
    found = portraits(settings.precision, settings.angles, settings.distances)
    _print_portraits(found)
    print(*portrait_checks(found, settings.precision), sep="\n")
    print("drawn:", *draw_portraits(found, _named(settings, "portraits")))


def run_fits(settings: GruDynamicsSettings) -> None:
    """Trains units on a cycle and on a ring, and draws what they learned."""
    orbit, cycles = fit_cycle(
        settings.windows, settings.steps, settings.learning_rate, settings.seeds
    )
    rings = fit_ring(
        settings.windows,
        settings.ring_steps,
        settings.learning_rate,
        settings.seeds,
        settings.duration,
        settings.starts,
    )
    _print_fits(orbit, cycles, rings, settings)
    print(*fitting_checks(orbit, cycles, rings), sep="\n")
    print("drawn:", *draw_fits(orbit, cycles, rings, _named(settings, "fits")))


def _named(settings: GruDynamicsSettings, what: str) -> Path:
    return settings.figure.with_name(f"{settings.figure.name}-{what}")


def _print_portraits(found: Portraits) -> None:
    print("P1, one unit: where its fixed points become one or three")
    rows = [("2 at b = 0", f"u = {found.pitchfork:.5f}", "u = 2")]
    rows += [
        (f"{weight:g}", f"b = {bias:.5f}", f"b = {fold(weight):.6f}")
        for weight, bias in found.folds.items()
    ]
    print_table(("weight u", "bisected", "closed form"), rows)
    print("P2, a turning unit: the period of its cycle, and that of the plane's flow")
    print_table(
        ("angle", "period", "of the plane", "size"),
        [
            (
                f"{math.degrees(one.angle):.1f}°",
                f"{one.orbit.period:.6f}",
                f"{one.plane_period:.6f}",
                f"{np.max(np.abs(one.orbit.states)):.3f}",
            )
            for one in found.turns
        ],
    )
    print(f"P3 at δ* = {found.meeting:.10f}: what is at rest, and periods below δ*")
    print_table(
        ("kind", "h", "eigenvalues"),
        [
            (
                point.kind,
                f"({point.state[0]:.4f}, {point.state[1]:.4f})",
                ", ".join(f"{value:.5f}" for value in point.eigenvalues),
            )
            for point in found.rests
        ],
    )
    grown = ["-", *(f"{one:.3f}" for one in slopes(found.orbits))]
    print_table(
        ("δ* - δ", "period", "more by a decade"),
        [
            (f"{distance:g}", f"{one.period:.3f}", more)
            for (distance, one), more in zip(found.orbits.items(), grown, strict=True)
        ],
    )


def _print_fits(
    orbit: PeriodicOrbit,
    cycles: Sequence[CycleRun],
    rings: Sequence[RingRun],
    settings: GruDynamicsSettings,
) -> None:
    print(
        f"Van der Pol's cycle, period {orbit.period:.3f}, after {settings.steps:,} "
        "steps of training"
    )
    print_table(
        ("seed", "loss", "period", "off by", "aside by"),
        [
            (
                f"{seed}",
                f"{one.loss:.2e}",
                f"{one.orbit.period:.3f}" if one.orbit else "none",
                f"{one.orbit.period / orbit.period - 1:+.2%}" if one.orbit else "-",
                f"{one.aside(orbit):.2f}" if one.orbit else "-",
            )
            for seed, one in zip(settings.seeds, cycles, strict=True)
        ],
    )
    print(
        f"A ring after {settings.ring_steps:,} steps: its fixed points, and a free run "
        f"of {settings.duration:g} from {settings.starts} states on it"
    )
    print_table(
        ("seed", "loss", "at rest", "stable", "with runs that ended there", "moved by"),
        [
            (
                f"{seed}",
                f"{one.loss:.2e}",
                f"{len(one.rests)}",
                f"{sum(point.kind.startswith('stable') for point in one.rests)}",
                " + ".join(str(held) for held in one.held_by if held) or "none",
                f"{one.moved:.2f}",
            )
            for seed, one in zip(settings.seeds, rings, strict=True)
        ],
    )
