import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.__main__ import main
from experiments.cycle_gradients import Gradients, build, gradients, starts, velocity
from experiments.cycle_memory import (
    SYMBOLS,
    Trained,
    Training,
    adding,
    families,
    recall,
    recall_batch,
    train,
)
from experiments.limit_cycle import (
    LimitCycleSettings,
    gradient_checks,
    memory_checks,
)
from gradstab.dynamics import Euler, time_step


def found(norms, exponents=((0.0, -1.0),), errors=((1e-3, 1e-3),), verdict="stable"):
    return Gradients(
        np.asarray(norms), np.asarray(exponents), np.asarray(errors), (verdict,)
    )


def test_the_cell_takes_the_steps_of_euler():
    with jax.enable_x64(True):
        cell = build(starts(6)["Gaussian, g = 3"], 6, 0.1, jax.random.key(0))
        state = jax.random.uniform(jax.random.key(1), (6,))
        step = time_step(velocity(cell.recurrent()), 0.1, integrator=Euler(0.1))
        np.testing.assert_allclose(
            cell(state, jnp.zeros(1))[0], step(state), atol=1e-14
        )


def test_at_a_fixed_point_gradients_decay_at_the_rate_of_its_jacobian():
    # W = 0: every direction decays by 1 - dt a step, wherever the state is.
    one = gradients(nnx.initializers.zeros_init(), 2, 10, (0, 1))
    np.testing.assert_allclose(one.norms[:, ::10], [[1, 0.9**100]] * 2, rtol=1e-10)
    np.testing.assert_allclose(one.exponents, np.log(0.9) / 0.1, rtol=1e-10)
    assert one.verdicts == ("vanishing",) * 2
    assert not one.grows.any()


def test_along_cycles_gradients_last_and_each_plane_has_an_exponent_of_0():
    one = gradients(starts(4)["limit cycles, narrow angles"], 4, 100, (0,))
    assert 1 / 3 < one.norms.min() <= one.norms.max() < 3
    np.testing.assert_allclose(one.exponents[0, :2], 0, atol=0.01)
    assert one.exponents[0, 2] < -0.02
    assert one.verdicts == ("stable",)


def test_counts_exponents_of_0_by_their_errors():
    one = found(
        [[1.0]], [[0.1, 0.002, -0.01], [-0.1, -0.2, -0.3]], np.full((2, 3), 1e-3)
    )
    np.testing.assert_array_equal(one.zeros, [1, 0])
    np.testing.assert_array_equal(one.grows, [True, False])


def test_judges_gradients():
    lasting = found([[1.0, 0.8]])
    gone = found([[1.0, 1e-9]], [[-0.1, -0.2]], verdict="vanishing")
    names = list(starts(2))
    kinds = [lasting, lasting, gone, gone, found([[1.0, 1e5]], [[0.1, 0.0]])]
    checks = gradient_checks(dict(zip(names, kinds, strict=True)))
    assert [check.met for check in checks] == [True] * 6
    tame = [gone, lasting, lasting, gone, lasting]
    checks = gradient_checks(dict(zip(names, tame, strict=True)))
    assert [check.met for check in checks] == [False] * 6


def test_the_symbol_is_shown_first_and_noise_always():
    inputs, symbols = recall_batch(jax.random.key(0), batch=5, length=7)
    assert inputs.shape == (5, 7, SYMBOLS + 1)
    np.testing.assert_array_equal(jnp.argmax(inputs[:, 0, :-1], axis=-1), symbols)
    np.testing.assert_array_equal(jnp.sum(inputs[..., :-1], axis=(1, 2)), 1)
    assert np.all(np.asarray(inputs[..., -1]) != 0)


def test_an_untrained_network_answers_0_and_trains_at_every_rate():
    memory, family = recall(3), families(4)[1]
    found = train(memory, family, Training(4, 2, 3, (1e-9, 1e-2), (0, 1), 20))
    assert list(found) == ["torus", "orthogonal", "Gaussian"]
    _, targets = memory.draw(jax.random.key(2**31), batch=20)
    zero = jnp.zeros((20, memory.out_features))
    untrained = jnp.mean(memory.losses(zero, targets))
    for one in found.values():
        assert one.test.shape == (2, 2)
        np.testing.assert_allclose(one.validation[0], untrained, rtol=1e-4)
        assert np.all(one.validation[1] != one.validation[0])


def test_shows_the_rate_that_validates_best():
    scores = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    one = Trained(np.array([[2.0, 2.0], [1.0, 2.0], [np.nan, 0.0]]), scores)
    assert one.best == 1
    np.testing.assert_array_equal(one.scores, [0.3, 0.4])


@pytest.mark.parametrize(
    ("memory", "scores", "met"),
    [
        (recall(3), (0.9, 0.8, 0.7), True),
        (recall(3), (0.9, 0.9, 0.7), False),
        (recall(3), (0.13, 0.12, 0.11), False),  # no better than guessing
        (adding(3), (0.1, 0.2, 0.3), True),
        (adding(3), (0.16, 0.17, 0.18), False),
        (adding(3), (0.2, 0.1, 0.3), False),
    ],
)
def test_judges_who_leads(memory, scores, met):
    family = families(2)[0]
    trained = {
        name: Trained(np.zeros((1, 1)), np.full((1, 1), score))
        for name, score in zip(family.starts, scores, strict=True)
    }
    (check,) = memory_checks([(memory, family, trained)])
    assert check.met == met


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden", 1),
        ("times", (5,)),
        ("times", (0, 10)),
        ("seeds", ()),
        ("rates", (-1,)),
    ],
)
def test_names_the_flag_of_a_bad_value(field, value):
    (line,) = LimitCycleSettings(**{field: value}).problems()
    assert line.startswith(f"--{field} must ")
    assert LimitCycleSettings().problems() == []


@pytest.mark.slow
def test_prints_tables_and_draws(tmp_path, capsys):
    sizes = "--hidden 4 --trained 4 --recall-length 3 --adding-length 3 --batch 2"
    short = "--times 2 10 --seeds 0 --recall-steps 1 --adding-steps 1 --rates 1e-3"
    path = ["--figure", str(tmp_path / "there" / "drawn")]
    assert main(["limit_cycle", *sizes.split(), *short.split(), *path]) == 0
    printed = capsys.readouterr().out
    assert "limit cycles, narrow angles" in printed
    assert "adding, 3 steps" in printed
    for ending in (".png", ".pdf"):
        assert (tmp_path / "there" / "drawn").with_suffix(ending).stat().st_size > 0
    assert main(["limit_cycle", "--hidden", "1"]) == 2
    assert "--hidden must be at least 2" in capsys.readouterr().err
