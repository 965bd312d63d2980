"""Gated recurrent units as flows without input, and four whose portraits are known.

P1 to P4 of `gru_dynamics`: no update gate (z = 1/2), the reset inside the product.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from gradstab.dynamics import GRUODECell

Field = Callable[[Float[Array, " n"]], Float[Array, " n"]]

# Where the cycle of P2 is born, 3/2 cos θ = 1, and where saddles and nodes end it; the
# latter was found by numbers.
HOPF = math.acos(2 / 3)
SADDLES_AND_NODES = math.pi / 21.2525


def autonomous(cell: GRUODECell) -> Field:
    """Returns the field of a unit whose input is zero."""
    silence = jnp.zeros(cell.in_features, jnp.float64)
    return lambda h: cell.field(h, silence)


def gru(
    candidate: Any, *, bias: Any = 0.0, reset: Any = 0.0, reset_bias: Any = 0.0
) -> Field:
    """Makes dh/dt = (tanh(U (r * h) + b) - h) / 2 with r = σ(U_r h + b_r).

    Args:
        candidate: U, shape (n, n).
        bias: b, shape (n,) or a number.
        reset: U_r, shape (n, n) or a number.
        reset_bias: b_r, shape (n,) or a number.

    Returns:
        The field, in double precision, which has to be enabled.
    """
    n = len(candidate)
    cell = GRUODECell(1, n, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    matrices = {"candidate": candidate, "reset": reset, "update": 0.0}
    biases = {"candidate": bias, "reset": reset_bias, "update": 0.0}
    for gate, matrix in matrices.items():
        wide = jnp.broadcast_to(jnp.asarray(matrix, jnp.float64), (n, n))
        getattr(cell.gru, gate).assign(wide)
        offset = jnp.broadcast_to(jnp.asarray(biases[gate], jnp.float64), (n,))
        getattr(cell.gru, f"dense_{gate}").bias[...] = offset
    return autonomous(cell)


def single(weight: float, bias: float) -> Field:
    """P1: one unit, h = tanh(u h / 2 + b) at rest."""
    return gru([[weight]], bias=bias)


def fold(weight: float) -> float:
    """Returns the bias of P1 beyond which two of its three fixed points are gone.

    Args:
        weight: u >= 2.

    Returns:
        |artanh h - u h / 2| at h² = 1 - 2 / u.
    """
    height = math.sqrt(1 - 2 / weight)
    return abs(math.atanh(height) - weight / 2 * height)


def turning(angle: float) -> Field:
    """P2: U = 3 R(θ), which has a limit cycle for θ from 0.147822 to arccos(2/3)."""
    return gru(3 * jnp.asarray(_rotation(angle)))


def plane(angle: float) -> Field:
    """Returns dh/dt = -h + tanh(1.5 R(θ) h), twice as fast as P2."""
    matrix = 1.5 * jnp.asarray(_rotation(angle))
    return lambda h: -h + jnp.tanh(matrix @ h)


def homoclinic(delta: float | Float[Array, ""]) -> Field:
    """P3: a limit cycle that meets a saddle at δ = 0.1098957 and is no more above."""
    return gru(
        [[1.0, 7.6], [-3.5, 3.1]],
        bias=[0.0, -delta],
        reset=[[2.1, -0.7], [-1.3, 1.5]],
        reset_bias=[0.0, 0.6],
    )


def pseudo_line(reset_bias: float = -2.0) -> Field:
    """P4: at rest at the origin alone, and all but at rest along h₂ = -h₁.

    With S = σ(b_r) and S″ = S (1 - S) (1 - 2 S), the weights w = 1 / (2 S) and the gain
    √(2 S / (3 S″)) of the reset let the drive agree with artanh to third order: the
    drift along the line is O(h⁵).

    Args:
        reset_bias: b_r < 0 of both units.

    Returns:
        The field.
    """
    share = 1 / (1 + math.exp(-reset_bias))
    bend = share * (1 - share) * (1 - 2 * share)
    weight, gain = 1 / (2 * share), math.sqrt(2 * share / (3 * bend))
    return gru(
        [[weight, -weight], [-weight, weight]],
        reset=[[gain, 0.0], [0.0, gain]],
        reset_bias=reset_bias,
    )


def _rotation(angle: float) -> list[list[float]]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return [[cosine, -sine], [sine, cosine]]
