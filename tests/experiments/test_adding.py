import pytest

from experiments.adding import PRESETS, AddingSettings, adding_checks, adding_task
from experiments.summary import Summary

TASK = adding_task(AddingSettings(length=4, validation_sequences=1, test_sequences=1))


def summary(method, *scores):
    return Summary(
        method=method,
        scores=scores,
        best_steps=(1,) * len(scores),
        parameters=1,
        seconds=1.0,
        milliseconds_per_step=1.0,
        waiting=0.01,
        gradient=(1e-5, 1.0),
        orthogonality=None,
        overshoot=None,
    )


@pytest.mark.parametrize(
    ("spectral", "plain", "met"),
    [
        ((0.3, 0.01, 0.02), (0.166,), (False, True)),
        ((0.3, 0.01, 0.019), (0.166,), (True, True)),
        ((0.01,), (0.14, 0.16, 0.14), (True, False)),
        ((0.01,), (0.19,), (True, False)),
    ],
)
def test_judges_medians(spectral, plain, met):
    checks = adding_checks(
        TASK,
        {
            "rnn": summary("rnn", *plain),
            "spectral_rnn": summary("spectral_rnn", *spectral),
        },
    )
    assert tuple(check.met for check in checks) == (*met, False, False)
    assert str(checks[0]).startswith("met: " if met[0] else "NOT MET: ")


def test_judges_nothing_without_both():
    assert adding_checks(TASK, {"rnn": summary("rnn", 0.1)}) == []


def test_the_paper_preset_is_the_whole_budget():
    assert adding_task(PRESETS["paper"]).budget.startswith("100%")
