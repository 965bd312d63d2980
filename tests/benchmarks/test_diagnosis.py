import jax
import pytest

from benchmarks.diagnosis import Options, main


@pytest.mark.slow
def test_prints_a_line_for_each_model(capsys):
    only = ("nnx.SimpleCell", "OrthogonalCell")
    with jax.numpy_dtype_promotion("standard"):  # optax needs it
        assert main(Options(hidden=4, steps=6, batch=2, rounds=1, only=only)) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[2:]] == list(only)
