import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.reversible._fixed_point import FixedPoint
from gradstab.reversible._tape import blank, latest, make_room, take_back, wound


@pytest.mark.parametrize("wide", [False, True])
def test_what_was_moved_comes_back(wide):
    with jax.enable_x64(wide):
        fixed = FixedPoint(wide, 20)
        high = int(jnp.iinfo(fixed.unsigned).max)
        rng = np.random.default_rng(0)
        drawn = rng.integers(0, high, (6, 2, 3), dtype=np.dtype(fixed.unsigned))
        is_full = jnp.asarray([True, False, True, True, False, True])
        tape = blank(fixed, jnp.zeros((2, 3)), slots=4)
        forward, backward = jnp.asarray(True), jnp.asarray(False)
        kept = []
        for buffer, full in zip(drawn, is_full, strict=True):
            lowest, left = make_room(fixed, jnp.asarray(buffer), full)
            tape = wound(tape, lowest, full, forward)
            kept.append(left)
        assert int(tape.used) == 4
        assert tape.slots.dtype == fixed.taped
        for k in reversed(range(6)):
            lowest = latest(tape, is_full[k])
            found = take_back(fixed, kept[k], lowest, is_full[k])
            np.testing.assert_array_equal(found, drawn[k])
            tape = wound(tape, lowest, is_full[k], backward)
        assert int(tape.used) == 0
