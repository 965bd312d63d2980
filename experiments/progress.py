"""How far a run has come: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int, float | None], None]

LINES = 4


@contextmanager
def progress(label: str, total: int) -> Generator[Advance]:
    """Shows the progress of one training on the standard error stream.

    Args:
        label: what is trained.
        total: how many steps there are.

    Yields:
        A function to call with the steps done, and the score if it was measured.
    """
    if sys.stderr.isatty():
        with _bar(label, total) as advance:
            yield advance
    else:
        yield _lines(label, total)


@contextmanager
def _bar(label: str, total: int) -> Generator[Advance]:
    columns = (
        TextColumn("{task.description:26}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, remark="compiling")

        def advance(done: int, score: float | None) -> None:
            bar.update(task, completed=done)
            if score is not None:
                bar.update(task, remark=f"validation {score:.4f}")

        yield advance


def _lines(label: str, total: int) -> Advance:
    began = time.perf_counter()
    shown = 0

    def advance(done: int, score: float | None) -> None:
        nonlocal shown
        if score is not None and done * LINES // total > shown:
            shown = done * LINES // total
            seconds = time.perf_counter() - began
            say(
                f"{label}: step {done:,} of {total:,}, "
                f"validation {score:.4f}, {seconds:.0f} s"
            )

    return advance


def say(line: str) -> None:
    """Prints a line on the standard error stream, if anyone is there to read it."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
