import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.nn._rotation_blocks import check_interval, rotation_blocks


def test_turns_each_plane_and_leaves_the_rest(dtype):
    scales, angles = jnp.asarray([2, 3], dtype), jnp.asarray([0.3, -0.5], dtype)
    matrix = rotation_blocks(scales, angles, jnp.asarray([7], dtype))
    assert matrix.dtype == dtype
    expected = np.zeros((5, 5))
    for place, scale, angle in [(0, 2, 0.3), (2, 3, -0.5)]:
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        expected[place : place + 2, place : place + 2] = scale * turn
    expected[4, 4] = 7
    np.testing.assert_allclose(matrix, expected, rtol=2e-6)


@pytest.mark.error_text
@pytest.mark.parametrize("interval", [1.0, (1.0,), (2.0, 1.0), (0.0, np.nan)])
def test_refuses_what_is_no_interval(interval):
    with pytest.raises(ValueError, match="`angles` must"):
        check_interval("angles", interval)
