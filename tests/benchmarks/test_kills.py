import pytest

from benchmarks.kills import Options, main


@pytest.mark.slow
def test_a_run_that_is_killed_ends_as_one_that_is_not(capsys):
    options = Options(kills=2, steps=3000, save_every=0.1, patience=2.0)
    assert main(options) == 0, capsys.readouterr().out
