import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics import nullclines


def circle_and_line(h):
    return jnp.stack([jnp.sum(h**2) - 1, h[1] - 0.5 * h[0]])


def test_traces_the_curves_of_each_component():
    (circle,), (line,) = nullclines(circle_and_line, [[-2, 2], [-1.5, 1.5]])
    np.testing.assert_allclose(np.linalg.norm(circle, axis=1), 1, atol=1e-3)
    np.testing.assert_array_equal(circle[0], circle[-1])
    np.testing.assert_allclose(line[:, 1], 0.5 * line[:, 0], atol=1e-5)
    assert np.ptp(line[:, 0]) == pytest.approx(4)


def test_a_component_without_zeros_has_no_curve():
    first, second = nullclines(lambda h: h**2 + 1, [[-1, 1]] * 2, resolution=5)
    assert first == second == []


def test_rejects_bad_arguments():
    with pytest.raises(ValueError, match="`box` must have shape"):
        nullclines(circle_and_line, [[-1, 1]] * 3)
    with pytest.raises(ValueError, match="`resolution` must"):
        nullclines(circle_and_line, [[-1, 1]] * 2, resolution=1)
    with pytest.raises(ValueError, match="`field` must map"):
        nullclines(lambda h: h[0], [[-1, 1]] * 2)
