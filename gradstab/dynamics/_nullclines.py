"""The curves on which one coordinate of a planar flow stands still."""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gradstab.dynamics._extras import extra
from gradstab.dynamics._vector_field import VectorField
from gradstab.dynamics._velocity_grid import velocity_grid

Curve = Float[np.ndarray, "points 2"]


def nullclines(
    field: VectorField, box: ArrayLike, *, resolution: int = 201
) -> tuple[list[Curve], list[Curve]]:
    """Traces where the components f₁ and f₂ of a planar field are 0.

    Fixed points are where a curve of one meets one of the other. Marching squares, by
    contourpy (of the extra `dynamics`), with linear interpolation: the error falls as
    the square of the cells, and two branches within one cell may be joined the wrong
    way.

    Args:
        field: f, a pure function of one state of shape (2,).
        box: shape (2, 2), a row (low, high) for each coordinate.
        resolution: points along each axis, at least 2.

    Returns:
        The curves of f₁ = 0 and those of f₂ = 0, closed ones ending where they begin.

    Raises:
        ValueError: if `box` or `resolution` is none, or `field` is not of the plane.
        ModuleNotFoundError: without contourpy.
    """
    first, second, velocities = velocity_grid(field, box, resolution)
    contourpy = extra("contourpy")

    def curves(values: np.ndarray) -> list[Curve]:
        return contourpy.contour_generator(first, second, values).lines(0.0)

    return curves(velocities[..., 0]), curves(velocities[..., 1])
