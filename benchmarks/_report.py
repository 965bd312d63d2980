"""What a run prints: a heading that says what it ran on, and the table."""

import datetime
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks._harness import TOLERANCE, spread, verdict

# More than this, in cores, and the time of day measures the neighbors.
QUIET = 0.12

_COLUMNS = "{:<38}{:>6}{:>12}{:>8}   {:<32}{:>12}{:>8}{:>7}{:>7}  {}"


@dataclass(frozen=True)
class Line:
    """A line of the table: one candidate against another.

    Args:
        subject: name of the candidate that is ours.
        reference: name of the one that it is held against.
        goal: largest ratio wanted, None where there is none.
        memory: whether temporary memory is compared instead of time.
    """

    subject: str
    reference: str
    goal: float | None = None
    memory: bool = False


def print_heading(command: str, cores: int, peers: dict[str, str]) -> None:
    """Prints the date, the command, the versions and the machine.

    Args:
        command: what was run.
        cores: the number of cores it is confined to.
        peers: version of each package of the peer process; empty without one.
    """
    ours = {"python": platform.python_version()} | {
        name: version(name) for name in ("jax", "jaxlib", "flax")
    }
    clock = "processor time" if cores == 1 else "time of day"
    threads = os.environ["OPENBLAS_NUM_THREADS"]
    print(f"{datetime.date.today()}  {command}")
    print(", ".join(f"{name} {number}" for name, number in (ours | peers).items()))
    print(f"{_processor()}; cores {cores}, {clock}, OPENBLAS_NUM_THREADS={threads}")
    if missing := sorted({"torch", "geotorch", "torch_householder"} - peers.keys()):
        print(
            f"left out, not in the interpreter of --peer-python: {', '.join(missing)}"
        )
    print(
        "ratio: ours / theirs, median over the rounds; +-: half its interquartile "
        f"range; goals are missed by at most {TOLERANCE:.0%} where it says 'within'\n"
    )
    print(
        _COLUMNS.format(
            *("ours", "n", "takes", "mm", "theirs", "takes", "ratio", "+-", "goal", ""),
        )
    )


def print_line(
    n: int,
    line: Line,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: Sequence[float],
) -> None:
    """Prints one line of the table.

    Args:
        n: the size.
        line: what is compared.
        ours: seconds of each round, or bytes, of the subject.
        theirs: those of the reference.
        unit: seconds of one matrix product in each round; not used for memory.
    """
    ratios = _divide(ours, theirs)
    ratio = statistics.median(ratios)
    print(
        _COLUMNS.format(
            line.subject,
            n,
            _amount(ours, line.memory),
            "" if line.memory else f"{statistics.median(_divide(ours, unit)):.2f}",
            line.reference,
            _amount(theirs, line.memory),
            as_ratio(ratio),
            "" if line.memory else f"{spread(ratios):.0%}",
            "" if line.goal is None else as_ratio(line.goal),
            verdict(ratio, line.goal),
        ).rstrip(),
        flush=True,
    )


def print_load(load: float, cores: int) -> None:
    """Prints the load of other processes, and what it does to the figures.

    Args:
        load: processor time that others took in each second, on the cores of the run.
        cores: how many cores those are.
    """
    print(f"\nmeanwhile other processes took {load:.2f} of {cores} core(s)")
    if cores > 1 and load > QUIET:
        print(f"that is above {QUIET}: take no figure from this run")


def as_ratio(value: float) -> str:
    """Writes a ratio the way it reads best: 4.12, 0.85 or 1/35."""
    if value < 0.3:
        return f"1/{1 / value:.1f}".removesuffix(".0")
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _amount(values: Sequence[float], memory: bool) -> str:
    middle = statistics.median(values)
    return f"{middle / 1e6:.4g} MB" if memory else f"{middle * 1e3:.4g} ms"


def _divide(ours: Iterable[float], theirs: Iterable[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {key.strip(): value.strip() for key, value in fields.items()}
    return names.get("model name", platform.machine())
