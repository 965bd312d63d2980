from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import char_ptb, ptb, word_ptb
from experiments.__main__ import main
from experiments.data.ptb import TokenStreams
from experiments.markov_text import (
    MarkovTextSettings,
    markov_text_checks,
    markov_text_task,
)
from experiments.settings import MethodName
from experiments.summary import Summary
from experiments.text import TextSettings, sequences_of_text, unigram_entropy, windows
from tests.experiments.summaries import summary

SETTINGS = TextSettings(
    length=4, context=3, batch=5, validation_symbols=30, test_symbols=40
)
STREAM = np.arange(100, dtype=np.int32)


@pytest.mark.parametrize("count", [5, 8, 9, 40, 41])
@pytest.mark.parametrize("context", [0, 3])
def test_every_symbol_is_scored_once_after_its_context(count, context):
    inputs, targets = windows(STREAM[:count], replace(SETTINGS, context=context))
    scored = np.asarray(targets.weights) > 0
    np.testing.assert_array_equal(
        np.asarray(targets.values)[scored], STREAM[context + 1 : count]
    )
    # Each symbol stands after the one before it.
    np.testing.assert_array_equal(
        np.asarray(inputs)[scored] + 1, np.asarray(targets.values)[scored]
    )
    # A mean over windows is one over symbols.
    assert np.mean(np.sum(targets.weights, axis=1)) == pytest.approx(1)


def test_training_sequences_are_cut_anywhere():
    part = sequences_of_text(STREAM[:12], STREAM, STREAM, SETTINGS)
    draw = jax.vmap(lambda key: part["draw"](key, part["train"]))
    inputs, targets = draw(jax.random.split(jax.random.key(0), 60))
    assert inputs.shape == (60, 5, 4)
    np.testing.assert_array_equal(targets.values, inputs + 1)
    assert set(np.ravel(inputs[..., 0])) == set(range(8))
    assert np.max(targets.values) == 11
    np.testing.assert_array_equal(targets.weights, 1)


def test_frequencies_alone_have_the_entropy_of_the_unigrams():
    train = np.array([0, 0, 0, 1])
    expected = -(2 * np.log(4 / 7) + np.log(1 / 7)) / 3
    assert unigram_entropy(train, np.array([0, 0, 2]), 3) == pytest.approx(expected)


@pytest.fixture
def tiny(monkeypatch):
    """A treebank of a few symbols."""
    rng = np.random.default_rng(0)
    parts = (rng.integers(0, 7, size).astype(np.int32) for size in (400, 90, 120))
    streams = TokenStreams(*parts, vocabulary=tuple("abcdefg"))
    monkeypatch.setattr(ptb, "load_ptb", lambda level, data_dir: streams)
    return streams


def test_a_network_that_knows_nothing_is_as_good_as_guessing(tiny):
    for module, guess in ((char_ptb, np.log2(7)), (word_ptb, 7)):
        task = getattr(module, f"{module.__name__.split('.')[-1]}_task")(
            replace(module.PRESETS["quick"], length=10, context=5)
        )
        inputs, targets = task.test
        answers = jnp.zeros((*inputs.shape, 7))
        score = task.link(jnp.mean(task.scores(answers, targets)))
        assert float(score) == pytest.approx(guess)
        assert task.baseline == pytest.approx(guess, rel=0.05)
        assert task.tokens == task.out_features == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["char_ptb", "word_ptb"])
def test_learns_from_text(name, tiny, tmp_path, capsys):
    small = (
        "--steps 3 --hidden 4 --embedding 3 --length 8 --context 2 --batch 2".split()
    )
    kinds = ["--methods", "rnn", "gru", "--runs", str(tmp_path)]
    assert main([name, *small, *kinds]) == 0
    printed = capsys.readouterr().out
    assert "knowing how frequent each" in printed


def test_the_toy_tells_what_the_best_perplexity_is():
    settings = MarkovTextSettings(
        symbols=3, train_symbols=200, validation_symbols=100, test_symbols=2000
    )
    task = markov_text_task(settings)
    assert not task.biased
    assert 1 < task.baseline < 3.1
    assert "perplexity" in task.title


@pytest.mark.parametrize(
    ("plain", "ours", "met"), [(2, 0, (True, True)), (1, 1, (False, False))]
)
def test_judges_who_diverges(plain, ours, met):
    task = markov_text_task(
        MarkovTextSettings(
            symbols=3, train_symbols=50, validation_symbols=50, test_symbols=50
        )
    )
    found: dict[MethodName, Summary] = {
        "unprojected_gru": summary("unprojected_gru", 9.0, 9.0, diverged=plain),
        "spectral_gru": summary("spectral_gru", 8.0, 8.0, diverged=ours),
    }
    assert tuple(check.met for check in markov_text_checks(task, found)) == met
    del found["spectral_gru"]
    assert markov_text_checks(task, found) == []


def test_names_counts_that_leave_nothing_to_score():
    settings = TextSettings(context=10, validation_symbols=11, length=0)
    assert settings.problems() == [
        "--length must be at least 1, got 0.",
        "--validation-symbols must be at least 12, got 11.",
    ]
