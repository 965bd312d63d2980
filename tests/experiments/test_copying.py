import math

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.copying import PRESETS, CopyingSettings, copying_checks, copying_task
from experiments.settings import MethodName
from experiments.summary import Summary
from tests.experiments.summaries import summary

TASK = copying_task(CopyingSettings(validation_sequences=5, test_sequences=5))


def answer(targets, at_the_end):
    """Is certain of the blanks, and answers the last ten steps by some logits."""
    blanks = jnp.where(jnp.arange(9) == 8, 40.0, 0.0)
    length = targets.shape[1]
    steps = jnp.arange(length)[None, :, None] < length - 10
    return jnp.where(
        steps, blanks[None, None], jnp.broadcast_to(at_the_end, (5, length, 9))
    )


def test_guessing_the_symbols_has_the_loss_of_the_baseline():
    _, targets = TASK.validation
    guess = jnp.where(jnp.arange(9) == 8, -40.0, 0.0)
    losses = TASK.losses(answer(targets, guess), targets)
    np.testing.assert_allclose(losses, TASK.baseline, rtol=1e-4)


def test_knowing_the_symbols_has_no_loss():
    _, targets = TASK.validation
    known = 40.0 * (targets[..., None] == jnp.arange(9)[None, None])
    np.testing.assert_allclose(TASK.losses(known, targets), 0.0, atol=1e-5)


def test_the_paper_preset_is_the_whole_budget():
    assert copying_task(PRESETS["paper"]).budget.startswith("100%")


@pytest.mark.parametrize(("score", "met"), [(0.01, True), (0.2, False)])
def test_judges_scornn_by_the_baseline_and_enrnn_by_scornn(score, met):
    scornn = summary("scornn", score)
    (check,) = copying_checks(TASK, {"scornn": scornn})
    assert check.met is met
    for other, better in ((score / 2, True), (2 * score, False)):
        found: dict[MethodName, Summary] = {
            "scornn": scornn,
            "enrnn": summary("enrnn", other),
        }
        assert copying_checks(TASK, found)[1].met is better
    assert copying_checks(TASK, {"enrnn": scornn}) == []


@pytest.mark.parametrize(
    ("lstm", "h_detach", "norms", "met"),
    [
        ((0.5, 2.0), (0.1, 0.1), (30, 3), (True, True, True)),
        ((0.2, 0.1), (0.1, 0.1), (30, 11), (False, True, False)),
        ((0.5, 2.0), (0.1, 0.2), (30, 3), (True, False, True)),
        ((math.nan, 2.0), (0.1, math.nan), (30, math.nan), (True, False, False)),
    ],
)
def test_judges_spikes_and_gradients_of_h_detach(lstm, h_detach, norms, met):
    task = copying_task(
        CopyingSettings(symbols=5, validation_sequences=5, test_sequences=5)
    )
    found: dict[MethodName, Summary] = {
        "lstm": summary("lstm", 0.1, 0.1, worst_loss=lstm, largest_norm=(norms[0],)),
        "h_detach": summary(
            "h_detach", 0.1, 0.1, worst_loss=h_detach, largest_norm=(norms[1],)
        ),
    }
    assert tuple(check.met for check in copying_checks(task, found)) == met


def test_fewer_symbols_have_another_baseline():
    task = copying_task(
        CopyingSettings(symbols=5, validation_sequences=5, test_sequences=5)
    )
    assert task.validation[0].shape == (5, 110, 10)
    assert task.baseline == pytest.approx(5 * math.log(8) / 110)
