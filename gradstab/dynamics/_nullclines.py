"""The curves on which one coordinate of a planar flow stands still."""

import jax
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gradstab._checks import check_integer
from gradstab.dynamics._extras import extra
from gradstab.dynamics._vector_field import (
    VectorField,
    check_box,
    check_field,
    grid_points,
)

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
    first, second, velocities = on_grid(field, box, resolution)
    contourpy = extra("contourpy")

    def curves(values: np.ndarray) -> list[Curve]:
        return contourpy.contour_generator(first, second, values).lines(0.0)

    return curves(velocities[..., 0]), curves(velocities[..., 1])


def on_grid(
    field: VectorField, box: ArrayLike, resolution: int
) -> tuple[
    Float[np.ndarray, " columns"],
    Float[np.ndarray, " rows"],
    Float[np.ndarray, "rows columns 2"],
]:
    """Evaluates a planar field on a grid.

    Args:
        field: f.
        box: shape (2, 2).
        resolution: points along each axis.

    Returns:
        Both axes, and f with the second coordinate along rows, as plots have it.

    Raises:
        ValueError: if `box` or `resolution` is none, or `field` is not of the plane.
    """
    found = check_box(box, 2)
    check_integer("resolution", resolution, 2)
    points = grid_points(found, resolution)
    check_field(field, points[0])
    velocities = np.asarray(jax.jit(jax.vmap(field))(points), np.float64)
    grid = velocities.reshape(resolution, resolution, 2).swapaxes(0, 1)
    axes = [np.linspace(low, high, resolution) for low, high in found]
    return axes[0], axes[1], grid
