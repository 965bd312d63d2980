import jax.numpy as jnp
import numpy as np
import pytest

from experiments.parenthesis import (
    PRESETS,
    ParenthesisSettings,
    one_hot,
    parenthesis_checks,
    parenthesis_task,
)
from experiments.settings import MethodName
from experiments.summary import Summary
from tests.experiments.summaries import summary

TASK = parenthesis_task(
    ParenthesisSettings(length=12, validation_sequences=4, test_sequences=50)
)


def test_knowing_the_counts_has_no_loss():
    _, counts = TASK.test
    np.testing.assert_array_equal(TASK.losses(one_hot(counts), counts), 0)
    wrong = TASK.losses(one_hot((counts + 1) % 6), counts)
    np.testing.assert_allclose(wrong, 2 / 6, rtol=1e-6)


def test_the_baseline_is_the_best_constant_answer():
    _, counts = TASK.test
    frequencies = jnp.mean(one_hot(counts), axis=(0, 1), keepdims=True)
    answers = jnp.broadcast_to(frequencies, one_hot(counts).shape)
    found = jnp.mean(TASK.losses(answers, counts))
    np.testing.assert_allclose(found, TASK.baseline, rtol=1e-5)
    assert jnp.mean(TASK.losses(answers + 0.01, counts)) > found


@pytest.mark.parametrize(
    ("scores", "defect", "met"),
    [
        ((0.03, 0.03), 1e-6, (True, True)),
        ((0.03, 0.05), 1e-6, (False, True)),
        ((0.03, 0.03), 2e-3, (True, False)),
    ],
)
def test_judges_every_seed_and_the_defect(scores, defect, met):
    found: dict[MethodName, Summary] = {
        "gru": summary("gru", 0.04, 0.04),
        "nc_gru": summary("nc_gru", *scores, orthogonality=defect),
    }
    assert tuple(check.met for check in parenthesis_checks(TASK, found)) == met
    assert parenthesis_checks(TASK, {"gru": found["gru"]}) == []


def test_the_paper_preset_is_the_whole_budget():
    assert parenthesis_task(PRESETS["paper"]).budget.startswith("100%")
