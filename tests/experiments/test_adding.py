from dataclasses import replace

import pytest

from experiments.adding import PRESETS, AddingSettings, adding_checks, adding_task
from tests.experiments.summaries import summary

TASK = adding_task(AddingSettings(length=4, validation_sequences=1, test_sequences=1))


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


@pytest.mark.parametrize(("error", "met"), [(0.001, True), (0.1, False)])
def test_judges_sbo_rnn_too(error, met):
    found = adding_checks(
        TASK, {"rnn": summary("rnn", 0.166), "sbo_rnn": summary("sbo_rnn", error)}
    )
    assert [check.met for check in found] == [met, True]


def test_sbo_rnn_has_the_same_settings_at_both_lengths():
    short, long = PRESETS["sbo_rnn_100"], PRESETS["sbo_rnn_500"]
    assert (short.length, long.length) == (100, 500)
    assert replace(short, preset="quick", length=1) == replace(
        long, preset="quick", length=1
    )
