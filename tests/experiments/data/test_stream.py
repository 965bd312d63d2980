import itertools

import numpy as np
import pytest

pytest.importorskip("grain")

from experiments.data.stream import BatchStream

SOURCE = list(range(10))


def take(stream, count, first=0):
    return [list(map(int, stream[first + step])) for step in range(count)]


def test_every_pass_has_every_example_once_in_an_order_of_its_own():
    stream = BatchStream(SOURCE, batch=5, seed=0)
    passes = [sum(take(stream, 2, first), []) for first in (0, 2, 4)]
    assert [sorted(one) for one in passes] == [SOURCE] * 3
    assert len({tuple(one) for one in passes}) == 3


def test_the_order_is_that_of_the_seed():
    first, same, other = (BatchStream(SOURCE, batch=4, seed=seed) for seed in (1, 1, 2))
    assert take(first, 5) == take(same, 5)
    assert take(first, 5) != take(other, 5)


def test_goes_on_where_it_stopped():
    stream = BatchStream(SOURCE, batch=3, seed=0)
    for first in (0, 4, 9):
        rest = itertools.islice(stream.starting_at(first), 6)
        assert [list(map(int, batch)) for batch in rest] == take(stream, 6, first)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_read_disjoint_shares_of_the_same_batches(processes):
    whole = take(BatchStream(SOURCE, batch=4, seed=0), 12)
    shares = [
        take(BatchStream(SOURCE, batch=4, seed=0, process=p, processes=processes), 12)
        for p in range(processes)
    ]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        # Examples are dealt out in turn.
        dealt = [example for row in zip(*parts, strict=True) for example in row]
        assert dealt == batch


def test_reads_the_first_examples_alone():
    stream = BatchStream(SOURCE, count=4, batch=4, seed=0)
    assert [sorted(one) for one in take(stream, 3)] == [[0, 1, 2, 3]] * 3


def test_converts_and_stacks_examples():
    stream = BatchStream(
        SOURCE, batch=2, seed=0, convert=lambda x: (np.full(3, x), np.int32(-x))
    )
    inputs, targets = stream[0]
    assert inputs.shape == (2, 3)
    np.testing.assert_array_equal(inputs[:, 0], -targets)


@pytest.mark.error_text
def test_shares_are_equal():
    with pytest.raises(ValueError, match="`processes` must divide `batch`, 4, got 3"):
        BatchStream(SOURCE, batch=4, seed=0, processes=3)
