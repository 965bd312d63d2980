"""What the Neumann series that updates (I + A)⁻¹ may be in.

The step of plain SGD, -rate · ∂L/∂A, which is the rule of the authors' code whatever
optimizer moves A; the step that A took; or the residual I - P (I + A), which
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


def residual(moved: Matrix, inverse: Matrix, order: int) -> Matrix:
    """Sums R^j P over j up to the order, with R = I - P (I + A)."""
    q = gs.linalg.neumann_cayley(moved, inverse, order=order)
    return (q + jnp.eye(len(q))) / 2


# (A moved, its change, the step of plain SGD, P, the order) -> the new P.
SERIES: Mapping[str, Callable[..., Matrix]] = {
    "step of SGD (authors' code)": lambda _, change, sgd, p, k: by_series(sgd, p, k),
    "step that was taken": lambda _, change, sgd, p, k: by_series(change, p, k),
    "residual (gradstab)": lambda moved, change, sgd, p, k: residual(moved, p, k),
}
