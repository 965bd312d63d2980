import jax
import numpy as np
import pytest

from benchmarks.hypergradients import Options, main, make_loss, unrolled, weights
from gradstab.reversible import Schedules, train

SMALL = Options(sizes=(4, 5, 3), steps=7, batch=2, rounds=1)


def test_the_peers_train_as_we_do():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        loss, params = make_loss(SMALL), weights(SMALL.sizes)
        rates = Schedules(np.full(7, 0.3, np.float32), np.full(7, 0.9, np.float32))
        expected = jax.tree.leaves(train(loss, params, rates, None, 7))
        for stretch in (1, 3):
            found = jax.tree.leaves(unrolled(loss, params, rates, stretch))
            for mine, its in zip(found, expected, strict=True):
                np.testing.assert_allclose(mine, its, atol=1e-5)


@pytest.mark.slow
def test_prints_a_line_for_each_way(capsys):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert main(SMALL) == 0
    printed = capsys.readouterr().out.splitlines()
    names = ["reversal", "checkpoints", "unrolled", "jax.checkpoint"]
    assert [line.split()[0] for line in printed[-4:]] == names
