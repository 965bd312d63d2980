"""The gates of the cells that are known."""

import dataclasses
from typing import Any

from flax import nnx
from jaxtyping import Array

from gradstab.nn import GRUCell, HDetachLSTMCell, LSTMCell, MatmulCell
from gradstab.nn._methods import overrides


@dataclasses.dataclass(frozen=True)
class Gating:
    """What is known of a cell with gates.

    Attributes:
        names: of its gates, in the order in which it calls `gate_fn`.
        keeps: the gate that multiplies the old state.
    """

    names: tuple[str, ...]
    keeps: str


# Flax's cells open the gates in another order than ours.
_KNOWN: dict[type, Gating] = {
    nnx.LSTMCell: Gating(("input", "forget", "output"), "forget"),
    nnx.OptimizedLSTMCell: Gating(("input", "forget", "output"), "forget"),
    nnx.GRUCell: Gating(("reset", "update"), "update"),
    HDetachLSTMCell: Gating(("forget", "input", "output"), "forget"),
    LSTMCell: Gating(("forget", "input", "output"), "forget"),
    GRUCell: Gating(("reset", "update"), "update"),
}


def gating(cell: Any) -> Gating | None:
    """Returns what is known of the gates of a cell, None for one of other equations."""
    for kind, known in _KNOWN.items():
        if isinstance(cell, kind):
            if isinstance(cell, MatmulCell):
                same = not overrides(type(cell), kind, "activate", "step", "__call__")
                return known if same else None
            return None if overrides(type(cell), kind, "__call__") else known
    return None


def spy_on_gates(cell: Any) -> list[Array]:
    """Makes a cell leave what its gates are; the list fills as the cell is called.

    Args:
        cell: a known cell, which is changed: pass a copy.

    Returns:
        A list to which each call appends one array for each gate.
    """
    seen: list[Array] = []
    open_gate = cell.gate_fn

    def spy(x: Array) -> Array:
        seen.append(open_gate(x))
        return seen[-1]

    cell.gate_fn = spy
    return seen
