import numpy as np

from gradstab.dynamics._velocity_grid import velocity_grid


def test_a_grid_has_the_first_coordinate_along_columns():
    first, second, grid = velocity_grid(lambda h: h, [[0, 1], [5, 9]], 3)
    np.testing.assert_array_equal(grid[..., 0], np.broadcast_to(first, (3, 3)))
    np.testing.assert_array_equal(grid[..., 1], np.broadcast_to(second, (3, 3)).T)
