import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.recurrence._blocks import Blocks, block_length

SERIES = jnp.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_take_then_put_is_the_identity(axis, reverse):
    blocks = Blocks(6, 2, axis, reverse)
    series = jnp.moveaxis(SERIES, 0, axis)
    copy = blocks.room(SERIES[0])
    for i in range(blocks.count):
        copy = blocks.put(copy, blocks.take(series, i), i)
    np.testing.assert_array_equal(copy, series)


def test_blocks_are_numbered_in_the_order_of_the_run():
    assert [Blocks(6, 2, 0, False).start(i) for i in range(3)] == [0, 2, 4]
    assert [Blocks(6, 2, 0, True).start(i) for i in range(3)] == [4, 2, 0]


@pytest.mark.parametrize("reverse", [False, True])
def test_delay_gives_the_value_before_each_step(reverse):
    blocks, start = Blocks(6, 2, 0, reverse), jnp.full(2, -1.0)
    shifted = np.concatenate([start[None], SERIES[::-1] if reverse else SERIES])[:-1]
    shifted = shifted[::-1] if reverse else shifted
    for i in range(blocks.count):
        before = blocks.before(SERIES, i, start)
        delayed = blocks.delay(blocks.take(SERIES, i), before)
        at = blocks.start(i)
        np.testing.assert_array_equal(delayed, shifted[at : at + 2])


@pytest.mark.parametrize(("backend", "length"), [("cpu", 1), ("gpu", 7), ("tpu", 7)])
def test_an_accelerator_takes_the_whole_sequence(monkeypatch, backend, length):
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    assert block_length(7) == length
