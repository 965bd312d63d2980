import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.reversible._fixed_point import FixedPoint
from gradstab.reversible._tape import blank, make_room, take_back


@pytest.mark.parametrize("wide", [False, True])
def test_what_was_moved_comes_back(wide):
    with jax.enable_x64(wide):
        fixed = FixedPoint(wide, 20)
        high = int(jnp.iinfo(fixed.unsigned).max)
        rng = np.random.default_rng(0)
        drawn = rng.integers(0, high, (6, 2, 3), dtype=np.dtype(fixed.unsigned))
        is_full = jnp.asarray([True, False, True, True, False, True])
        tape = blank(fixed, (2, 3), slots=4)
        kept = []
        for buffer, full in zip(drawn, is_full, strict=True):
            tape, left = make_room(fixed, tape, jnp.asarray(buffer), full)
            kept.append(left)
        assert int(tape.used) == 4
        assert tape.slots.dtype == fixed.taped
        for k in reversed(range(6)):
            tape, found = take_back(fixed, tape, kept[k], is_full[k])
            np.testing.assert_array_equal(found, drawn[k])
        assert int(tape.used) == 0
