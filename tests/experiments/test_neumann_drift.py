import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.neumann_drift import (
    NeumannDriftSettings,
    largest_defect,
    neumann_checks,
)
from experiments.neumann_rules import SERIES

SETTINGS = NeumannDriftSettings(hidden=6, steps=60, exact_every=20, seeds=(0, 1))


def step(rule, change=1e-2):
    """One update of an exact inverse; returns it with the inverse wanted."""
    rng = np.random.default_rng(0)
    start, move = (jnp.asarray(x - x.T) for x in rng.normal(size=(2, 5, 5)))
    move = change * move
    inverse = jnp.linalg.inv(jnp.eye(5) + start)
    found = SERIES[rule](start + move, move, move, inverse, SETTINGS.order)
    return found, jnp.linalg.inv(jnp.eye(5) + start + move)


@pytest.mark.parametrize("rule", SERIES)
def test_after_a_step_of_sgd_from_an_exact_inverse_the_rules_agree(rule):
    with jax.enable_x64(True):
        errors = [
            float(jnp.linalg.norm(jnp.subtract(*step(rule, change))))
            for change in (1e-2, 1e-3)
        ]
        # Order 2 leaves the third power of the change.
        assert errors[0] / errors[1] == pytest.approx(1000, rel=0.2)


def test_the_descent_follows_the_gradient_of_the_paper():
    # With the true step Q is Q(A): were the gradient wrong, A would not be what Adam
    # and SGD make of it, but the defect would not tell. So A descends in fact.
    n = 5
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        skew = jnp.asarray(np.subtract(*(lambda x: (x, x.T))(rng.normal(size=(n, n)))))
        target = jnp.asarray(np.linalg.qr(rng.normal(size=(n, n)))[0])
        signs = jnp.array([1.0, 1.0, 1.0, -1.0, -1.0])

        def loss(half):
            a = half - half.T
            q = jnp.linalg.solve(jnp.eye(n) + a, jnp.eye(n) - a) * signs[None, :]
            return jnp.sum((q - target) ** 2)

        inverse = jnp.linalg.inv(jnp.eye(n) + skew)
        q = inverse @ (jnp.eye(n) - skew) * signs[None, :]
        pulled = inverse.T @ (2 * (q - target)) @ (jnp.diag(signs) + q.T)
        np.testing.assert_allclose(
            pulled.T - pulled, jax.grad(loss)(skew / 2), atol=1e-12
        )


def test_only_the_authors_rule_drifts_under_adam():
    defects = {
        rule: largest_defect(rule, "adam", False, SETTINGS).max() for rule in SERIES
    }
    theirs, step_taken, ours = defects.values()
    assert theirs > 100 * step_taken
    assert ours < 1e-5


@pytest.mark.parametrize(("theirs", "ours"), [(0.5, 1e-5), (0.01, 1e-3), (np.nan, 1)])
def test_judges_both_rules(theirs, ours):
    first, _, last = SERIES
    found = {(first, "adam", True): theirs, (last, "adam", False): ours}
    drifts, holds = neumann_checks(found)
    assert drifts.met is not (theirs <= 0.1)
    assert holds.met is (ours < 1e-4)


@pytest.mark.slow
def test_prints_a_table(capsys):
    options = ["--steps", "4", "--hidden", "4", "--seeds", "0"]
    assert main(["neumann_drift", *options]) == 0
    assert "residual (gradstab)" in capsys.readouterr().out
    assert main(["neumann_drift", "--hidden", "0"]) == 2
    assert "--hidden must be at least 1" in capsys.readouterr().err
