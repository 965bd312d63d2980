from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics._vector_field import check_box, check_field, check_state


@pytest.mark.parametrize(
    "box",
    [[0, 1], [[0, 1, 2]], np.zeros((0, 2)), [[1, 1]], [[0, np.inf]], [[2, 1], [0, 1]]],
)
def test_refuses_what_is_no_box(box):
    with pytest.raises(ValueError, match="`box` must have"):
        check_box(box)


def test_a_box_has_an_interval_for_each_coordinate():
    with pytest.raises(ValueError, match=r"`box` must have shape \(2, 2\).*\(3, 2\)"):
        check_box([[0, 1]] * 3, 2)


@pytest.mark.parametrize("state", [0.0, [[1.0]], [1, 2], [np.nan, 0.0]])
def test_refuses_what_is_no_state(state):
    with pytest.raises(ValueError, match="`start` must"):
        check_state("start", state)


@pytest.mark.parametrize(
    "field", [3, lambda h: h[:1], lambda h: h.astype(int), lambda h: (h, h)]
)
def test_refuses_what_is_no_field(field: Any):
    with pytest.raises(ValueError, match="`field` must"):
        check_field(field, jnp.ones(2))
