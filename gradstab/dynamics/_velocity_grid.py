"""A planar field on a grid, as pictures have it."""

import jax
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gradstab._checks import check_integer
from gradstab.dynamics._grid_points import grid_points
from gradstab.dynamics._vector_field import VectorField, check_box, check_field


def velocity_grid(
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
