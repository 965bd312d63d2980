"""A regular grid in a box."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from gradstab._checks import check_integer
from gradstab.dynamics._vector_field import check_box


def grid_points(box: ArrayLike, resolution: int) -> Float[Array, "points n"]:
    """Places points on a regular grid in a box, ends included.

    Args:
        box: shape (n, 2), a row (low, high) for each coordinate.
        resolution: points along each axis, at least 2; there are resolution ** n.

    Returns:
        The points, the last coordinate running fastest, in JAX's default dtype.

    Raises:
        ValueError: if `box` is none, or too narrow or wide for its points to differ in
            that dtype, or `resolution` is no integer >= 2.
    """
    found = check_box(box)
    check_integer("resolution", resolution, 2)
    dtype = jnp.zeros(0).dtype
    with np.errstate(over="ignore", invalid="ignore"):
        axes = [np.linspace(low, high, resolution).astype(dtype) for low, high in found]
        gaps = np.diff(axes)
    if not np.all((gaps > 0) & np.isfinite(gaps)):
        raise ValueError(
            f"`box` must hold {resolution} different points a side in {dtype.name}, "
            f"got {found.tolist()}; move the origin there, or use double precision."
        )
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return jnp.asarray(grid.reshape(-1, len(axes)))
