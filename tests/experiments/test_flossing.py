import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.coin_repeater import FlossingSettings, Outcome, Start, Trainer
from experiments.flossing import flossing_checks, horizon

SMALL = FlossingSettings(
    hidden=8,
    length=12,
    batch=4,
    exponents=2,
    floss_steps=60,
    floss_length=10,
    floss_rate=1e-2,
    delays=(1, 3),
    steps=150,
    learning_rate=1e-2,
    seeds=(0, 1),
)


def test_flossing_moves_the_exponents_to_zero():
    key = jax.random.key(0)
    _, before = jax.jit(Trainer("gaussian", SMALL).begin)(key)
    _, after = jax.jit(Trainer("flossed", SMALL).begin)(key)
    assert after < before / 5


def test_starts_differ_in_the_recurrent_weights_alone():
    key = jax.random.key(0)
    built = {}
    for start in ("gaussian", "orthogonal"):
        trainer = Trainer(start, SMALL)
        built[start] = trainer.model(trainer.begin(key)[0])
    kernels = [model.rnn.cell.dense_h.kernel[...] for model in built.values()]
    np.testing.assert_allclose(kernels[1].T @ kernels[1], np.eye(8), atol=1e-5)
    assert np.max(np.abs(kernels[0].T @ kernels[0] - np.eye(8))) > 0.1
    inputs = [model.rnn.cell.dense_i.kernel[...] for model in built.values()]
    np.testing.assert_array_equal(*inputs)


@pytest.mark.parametrize("start", ["gaussian", "flossed again"])
def test_a_coin_of_one_step_ago_is_learned(start):
    trainer = Trainer(start, SMALL)
    key = jax.random.key(0)
    params, _ = jax.jit(trainer.begin)(key)
    train = jax.jit(trainer.train)
    assert train(params, key, jnp.asarray(1)) < 0.1


def outcome_of(errors, penalty):
    return Outcome(np.asarray(errors), np.full(2, penalty), None)  # pyright: ignore


def test_claims_are_judged_by_medians():
    found: dict[Start, Outcome] = {
        "gaussian": outcome_of([[0.0, 0.01], [0.25, 0.25]], 1.0),
        "orthogonal": outcome_of([[0.0, 0.0], [0.25, 0.25]], 1.0),
        "flossed": outcome_of([[0.0, 0.0], [0.01, 0.2]], 1e-3),
        "flossed again": outcome_of([[0.0, 0.0], [0.25, 0.25]], 1e-3),
    }
    assert horizon(found["gaussian"], SMALL) == 1
    assert horizon(found["flossed"], SMALL) == 3
    assert [check.met for check in flossing_checks(found, SMALL)] == [True, True, False]


def test_settings_that_cannot_be_run_are_named():
    bad = FlossingSettings(delays=(0,), seeds=(), exponents=65, floss_rate=0.0)
    assert len(bad.problems()) == 4
    assert FlossingSettings(delays=(100,)).problems()
    assert not FlossingSettings().problems()


@pytest.mark.slow
def test_the_command_prints_and_draws(tmp_path, capsys):
    options = ["--hidden", "6", "--length", "8", "--batch", "2", "--exponents", "2"]
    options += ["--floss-steps", "2", "--floss-length", "6", "--delays", "1", "2"]
    options += ["--steps", "3", "--seeds", "0", "--figure", str(tmp_path / "picture")]
    assert main(["flossing", *options]) == 0
    printed = capsys.readouterr().out
    assert "2 steps ago" in printed
    assert "flossed again" in printed
    assert (tmp_path / "picture.png").exists()
