import jax
import numpy as np
import pytest

from gradstab.dynamics import grid_points


def test_grid_points_are_all_pairs_with_the_ends():
    points = grid_points([[0, 1], [-2, 2]], 3)
    expected = [(a, b) for a in (0, 0.5, 1) for b in (-2, 0, 2)]
    np.testing.assert_array_equal(points, expected)
    assert grid_points([[0, 1]] * 3, 2).shape == (8, 3)


@pytest.mark.parametrize("resolution", [1, 2.5])
def test_a_grid_has_two_points_a_side(resolution):
    with pytest.raises(ValueError, match="`resolution` must be an integer >= 2"):
        grid_points([[0, 1]], resolution)


@pytest.mark.parametrize("box", [[[1e8, 1e8 + 1]], [[0, 1], [-1e39, 1]]])
def test_a_grid_has_points_that_differ(box):
    with pytest.raises(
        ValueError, match="`box` must hold 5 different points .* float32"
    ):
        grid_points(box, 5)
    with jax.enable_x64(True):
        assert len(np.unique(grid_points(box, 5), axis=0)) == 5 ** len(box)
