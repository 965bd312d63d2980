import sys

import numpy as np
import pytest

from experiments.run_directory import SettingsError
from experiments.searchers import Bandit, make_searcher
from experiments.vhct import VhctSettings, cumulative_regret, run_vhct


def points(searcher, count, reward=lambda point: -abs(point[0] - 0.3)):
    found = []
    for _ in range(count):
        found.append(searcher.ask())
        searcher.tell(reward(found[-1]))
    return found


def test_a_grid_reaches_the_ends_of_every_axis():
    found = points(make_searcher("grid", 2, 10, 0), 9)
    assert len(set(found)) == 9
    assert found[0] == (0.0, 0.0)
    assert found[-1] == (1.0, 1.0)
    assert points(make_searcher("grid", 2, 3, 0), 3) == [(0.5, 0.5)] * 3


def test_random_points_are_those_of_their_seed():
    first, second = (points(make_searcher("random", 2, 9, 3), 5) for _ in range(2))
    assert first == second
    assert first != points(make_searcher("random", 2, 9, 4), 5)


def test_vhct_is_that_of_its_seed_and_leaves_the_generator_of_numpy():
    pytest.importorskip("PyXAB")
    np.random.seed(7)
    before = np.random.get_state(legacy=False)["state"]["key"]
    first = points(make_searcher("vhct", 2, 9, 3), 60)
    np.testing.assert_array_equal(
        np.random.get_state(legacy=False)["state"]["key"], before
    )
    np.random.seed(8)
    assert first == points(make_searcher("vhct", 2, 9, 3), 60)
    # It has moved to where the rewards are.
    near = [abs(point[0] - 0.3) for point in first]
    assert np.mean(near[-20:]) < np.mean(near[:20])


def test_vhct_plays_as_pyxab_does_on_its_own():
    pytest.importorskip("PyXAB")
    from PyXAB.algos.VHCT import VHCT

    np.random.seed(5)
    alone, pulled = VHCT(domain=[[0.0, 1.0]] * 2), []
    for step in range(1, 60):
        pulled.append(tuple(map(float, alone.pull(step))))
        alone.receive_reward(step, -abs(pulled[-1][0] - 0.3))
    assert points(Bandit(2, 5), 59) == pulled


def test_regret_adds_up_what_was_missed():
    class Fixed:
        def ask(self):
            return (0.25,)

        def tell(self, reward):
            assert -5.1 <= reward <= -4.9

    # The point is -1 + 0.25 * 8 = 1 of a box [-1, 7], and 5 below the maximum.
    total = cumulative_regret(Fixed(), [(-1, 7)], lambda x: 5 * x[0], 0.1, 10, 0)
    assert total == pytest.approx(50)


@pytest.mark.slow
def test_vhct_beats_drawing_at_random(capsys):
    pytest.importorskip("PyXAB")
    regrets = run_vhct(VhctSettings(rounds=200, runs=1, noises=(0.1,)))
    for function in ("Garland", "DoubleSine", "Himmelblau"):
        vhct, random = (regrets[function, name, 0.1][0] for name in ("VHCT", "random"))
        assert vhct < random
    printed = capsys.readouterr().out
    assert "Garland, noise 0.1: VHCT < HCT < T-HOO < random (" in printed


def test_the_extra_is_named_where_pyxab_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "PyXAB.algos.VHCT", None)
    with pytest.raises(SettingsError, match="of the extra `tuning`"):
        make_searcher("vhct", 1, 9, 0)


def test_names_what_cannot_be_run():
    lines = VhctSettings(rounds=0, runs=0, noises=(-1.0,)).problems()
    assert [line.split()[0] for line in lines] == ["--rounds", "--runs", "--noises"]
