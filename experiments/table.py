"""A table: drawn on a terminal, aligned columns elsewhere."""

from collections.abc import Iterable, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; columns of numbers are flush right.

    Args:
        header: names of the columns.
        rows: the cells.
    """
    console = Console()
    if not console.is_terminal:
        print(*aligned(header, rows), sep="\n")
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name, numeric in zip(header, _numeric(header, rows), strict=True):
        table.add_column(Text(name), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def spread(values: Iterable[float], form: str = ".3f") -> str:
    """Words the median of some numbers, with the lowest and the highest."""
    found = np.asarray(list(values))
    middle, low, high = np.median(found), np.min(found), np.max(found)
    return f"{middle:{form}} ({low:{form}} .. {high:{form}})"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Pads cells so that columns line up.

    Args:
        header: names of the columns.
        rows: the cells.

    Returns:
        One line for the header and one for each row.
    """
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    numeric = _numeric(header, rows)
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in table
    ]


def _numeric(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[bool]:
    """Tells which columns hold numbers, or dashes in their place."""
    return [
        bool(rows) and all(row[place][:1] in set("-0123456789") for row in rows)
        for place in range(len(header))
    ]
