"""What the Neumann series that updates (I + A)⁻¹ may be in.

`authors`: the step of plain SGD, -rate · ∂L/∂A, the rule of the authors' code, whatever
optimizer moves A. `true_step`: the step that A took. `residual`: I - P (I + A), which
`gradstab.linalg.neumann_cayley` takes.
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

import gradstab as gs

Matrix = Float[Array, "n n"]


def by_series(change: Matrix, inverse: Matrix, order: int) -> Matrix:
    """Sums (-P ΔA)^j P over j up to the order."""
    term = total = inverse
    for _ in range(order):
        term = -inverse @ change @ term
        total = total + term
    return total


def authors(
    moved: Matrix,
    change: Matrix,
    gradient: Matrix,
    inverse: Matrix,
    rate: float,
    order: int,
) -> Matrix:
    """Takes ΔA to be the step of plain SGD."""
    return by_series(-rate * gradient, inverse, order)


def true_step(
    moved: Matrix,
    change: Matrix,
    gradient: Matrix,
    inverse: Matrix,
    rate: float,
    order: int,
) -> Matrix:
    """Takes ΔA to be the step that was taken."""
    return by_series(change, inverse, order)


def residual(
    moved: Matrix,
    change: Matrix,
    gradient: Matrix,
    inverse: Matrix,
    rate: float,
    order: int,
) -> Matrix:
    """Takes I - P (I + A) in the place of -P ΔA."""
    q = gs.linalg.neumann_cayley(moved, inverse, order=order)
    return (q + jnp.eye(len(q))) / 2


SERIES: Mapping[str, Callable[..., Matrix]] = {
    "step of SGD (authors' code)": authors,
    "step that was taken": true_step,
    "residual (gradstab)": residual,
}
