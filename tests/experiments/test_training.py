import dataclasses
import json
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import pace
from experiments.adding import AddingSettings, adding_task
from experiments.checkpoints import Checkpoints
from experiments.fit import NonFiniteLossError, check_finite
from experiments.interruption import InterruptedRunError, interruptible
from experiments.learner import Learner
from experiments.methods import METHODS
from experiments.pixel_digits import PixelDigitsSettings, pixel_digits_task
from experiments.run_directory import RunDirectory, SettingsError
from experiments.settings import MethodName
from experiments.training import train

SMALL = AddingSettings(
    length=6,
    hidden=4,
    reflectors=2,
    negatives=2,
    batch=8,
    steps=6,
    evaluate_every=3,
    validation_sequences=16,
    test_sequences=16,
    seeds=(0, 1),
)


def run(path, method: MethodName = "rnn", advance=lambda step, score: None, **changes):
    settings = dataclasses.replace(SMALL, **changes)
    with interruptible(), RunDirectory(path, "adding", settings) as directory:
        return train(adding_task(settings), method, settings, directory, advance)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What each method does when nothing stops it."""
    methods: tuple[MethodName, ...] = "rnn", "scornn", "spectral_rnn"
    paths = [tmp_path_factory.mktemp(name) for name in methods]
    return {
        name: (run(path, name), path) for name, path in zip(methods, paths, strict=True)
    }


def assert_equal(one, other):
    """Holds two trainings, and the files they left, to the same bits."""
    (one, one_path), (other, other_path) = one, other
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.gradient, other.gradient)
    assert one.best_steps == other.best_steps
    files = [path / "metrics.jsonl" for path in (one_path, other_path)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert digest_of_the_last_state(one_path) == digest_of_the_last_state(other_path)


def digest_of_the_last_state(path):
    """The checksum of parameters, optimizer, keys and the best so far."""
    (notes,) = (path / "checkpoints").glob(f"adding/*/{SMALL.steps}/notes/metadata")
    return json.loads(notes.read_text())["digest"]


@pytest.mark.parametrize("method", ["rnn", "spectral_rnn"])
def test_measures_before_the_first_step_and_after_each_stretch(whole, method):
    training, _ = whole[method]
    assert [one.step for one in training.measurements] == [0, 3, 6]
    assert training.gradient.shape == (2, 6)
    for one in training.measurements:
        assert one.score.shape == (2,)
        assert np.all(one.smallest_gradient <= one.largest_gradient)
    # Every seed starts from the answer 0, and goes its own way.
    first, *_, last = training.measurements
    assert first.score[0] == first.score[1]
    assert len({first.score[0], last.score[0], last.score[1]}) == 3
    for name in ("loss", "worst_loss", "largest_norm"):
        assert np.all(np.isnan(getattr(first, name)))
        assert np.all(np.isfinite(getattr(last, name)))
    assert np.all(last.worst_loss > last.loss)
    assert not np.any(training.diverged)


@pytest.mark.parametrize("method", ["rnn", "spectral_rnn"])
def test_seeds_side_by_side_are_seeds_one_by_one(whole, method, tmp_path):
    together, _ = whole[method]
    alone = run(tmp_path, method, seeds=(1,))
    for both, one in zip(together.measurements, alone.measurements, strict=True):
        # Products of stacked matrices are summed in another order: a few roundings of
        # float32 a step.
        np.testing.assert_allclose(both.score[1], one.score[0], rtol=1e-5)
    np.testing.assert_allclose(
        together.gradient[1], alone.gradient[0], rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("method", ["rnn", "spectral_rnn"])
def test_the_models_are_those_that_validated_best(whole, method):
    training, _ = whole[method]
    task = adding_task(SMALL)
    table = {one.step: one.score for one in training.measurements}
    for place, (model, best) in enumerate(
        zip(training.models, training.best_steps, strict=True)
    ):
        assert table[best][place] == min(scores[place] for scores in table.values())
        for (inputs, targets), score in [
            (task.validation, table[best][place]),
            (task.test, training.scores[place]),
        ]:
            errors = jnp.mean((model(inputs) - targets) ** 2)
            np.testing.assert_allclose(errors, score, rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "step"),
    [("rnn", 1), ("rnn", 3), ("rnn", 5), ("scornn", 4), ("spectral_rnn", 2)],
)
def test_a_signal_saves_and_the_same_command_goes_on(
    whole, tmp_path, monkeypatch, method, step
):
    monkeypatch.setattr(pace, "STRETCH", 0.0)  # a step at a time

    def stop(done, score):
        if done == step and score is None:
            signal.raise_signal(signal.SIGTERM)

    message = f"{METHODS[method].title}: stopped after step {step} of 6"
    with pytest.raises(InterruptedRunError, match=message):
        run(tmp_path, method, advance=stop)
    seen = []
    resumed = run(tmp_path, method, advance=lambda done, score: seen.append(done))
    assert min(seen) > step
    assert_equal(whole[method], (resumed, tmp_path))
    assert resumed.seconds > 0


@pytest.mark.parametrize("step", [0, 2, 3, 6])
def test_an_end_without_warning_loses_nothing_either(whole, tmp_path, step):
    class PowerCutError(Exception):
        pass

    def stop(done, score):
        if done == step and (score is not None or step == 2):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        run(tmp_path, advance=stop, save_every=0.0)
    with (tmp_path / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"task": "add')  # half a line
    assert_equal(whole["rnn"], (run(tmp_path), tmp_path))


def test_a_run_that_has_ended_is_not_trained_again(whole, tmp_path):
    run(tmp_path)
    seen = []
    again = run(tmp_path, advance=lambda done, score: seen.append(done))
    assert seen == []
    assert_equal(whole["rnn"], (again, tmp_path))


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    whole, tmp_path, capsys
):
    run(tmp_path, save_every=0.0)
    newest = tmp_path / "checkpoints" / "adding" / "rnn" / "6"
    for file in newest.rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    resumed = run(tmp_path)
    assert f"{newest} is damaged" in (error := capsys.readouterr().err)
    assert "step 3 is used" in error
    assert_equal(whole["rnn"], (resumed, tmp_path))


def test_one_that_is_damaged_alone_is_no_reason_to_stop(whole, tmp_path, capsys):
    run(tmp_path)
    folder = tmp_path / "checkpoints" / "adding" / "rnn"
    for file in folder.rglob("metadata"):
        file.write_text("{")
    resumed = run(tmp_path)
    assert "is damaged" in (error := capsys.readouterr().err)
    assert error.endswith("there is none before it.\n")
    assert (folder.parent / "rnn-6-damaged").is_dir()
    assert_equal(whole["rnn"], (resumed, tmp_path))


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_a_second_signal_ends_at_once(tmp_path, before):
    def stop(done, score):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    own = signal.signal(signal.SIGINT, before)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, advance=stop)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, own)


def test_a_signal_after_the_last_step_is_not_lost(whole, tmp_path):
    def stop(done, score):
        if done == SMALL.steps and score is not None:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(InterruptedRunError, match="after step 6 of 6"):
        run(tmp_path, advance=stop)
    assert_equal(whole["rnn"], (run(tmp_path), tmp_path))


@pytest.mark.error_text
def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    run(tmp_path)
    settings = dataclasses.replace(SMALL, hidden=8)
    learner = Learner(adding_task(settings), "rnn", settings)
    path = tmp_path / "checkpoints" / "adding" / "rnn"
    with Checkpoints(path) as saved, pytest.raises(SettingsError) as caught:
        saved.restore(learner.start(settings))
    message = str(caught.value)
    assert "dense_h.kernel" in message
    assert "float32[2, 4, 4] there, float32[2, 8, 8] asked" in message


def test_the_state_of_another_optimizer_is_refused(tmp_path):
    run(tmp_path)
    settings = dataclasses.replace(SMALL, optimizer="rmsprop")
    start = Learner(adding_task(settings), "rnn", settings).start(settings)
    path = tmp_path / "checkpoints" / "adding" / "rnn"
    for wanted in (start, start._replace(optimizer=())):
        with (
            Checkpoints(path) as saved,
            pytest.raises(SettingsError, match=r"optimizer\.0\.mu\..* nothing asked"),
        ):
            saved.restore(wanted)


@pytest.mark.parametrize("version", [0, 2, None])
def test_a_checkpoint_of_another_format_is_refused_and_kept(tmp_path, version):
    path = tmp_path / "checkpoints"
    with Checkpoints(path) as saved:
        saved.save(1, {"x": jnp.ones(3)}, {"format": version})
    message = f"format {version}; this version reads format 1"
    with Checkpoints(path) as saved, pytest.raises(SettingsError, match=message):
        saved.restore({"x": jnp.zeros(3)})
    assert (path / "1").is_dir()


def test_numbers_that_were_changed_are_noticed(tmp_path, capsys):
    path = tmp_path / "checkpoints"
    with Checkpoints(path) as saved:
        saved.save(1, {"x": jnp.ones(3)}, {})
        saved.save(2, {"x": jnp.full(3, 2.0)}, {"digest": "that of other numbers"})
    with Checkpoints(path) as saved:
        step, state, _ = saved.restore({"x": jnp.zeros(3)})
    assert step == 1
    np.testing.assert_array_equal(state["x"], 1.0)
    assert "do not have the checksum" in capsys.readouterr().err
    assert (tmp_path / "checkpoints-2-damaged").is_dir()


SHARDED = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from experiments.checkpoints import Checkpoints
assert jax.device_count() == 4
rows = NamedSharding(Mesh(jax.devices(), "x"), PartitionSpec("x"))
x = jax.device_put(jnp.arange(8.0).reshape(4, 2), rows)
with Checkpoints(Path(sys.argv[1])) as saved:
    saved.save(7, {"x": x, "key": jax.random.key(3)}, {})
"""


@pytest.mark.slow
def test_what_four_devices_saved_is_restored_on_one(tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", SHARDED, str(tmp_path)]
    subprocess.run(
        command, env=os.environ | flags | {"JAX_PLATFORMS": "cpu"}, check=True
    )
    start = {"x": jnp.zeros((4, 2)), "key": jax.random.key(0)}
    with Checkpoints(tmp_path) as saved:
        step, state, _ = saved.restore(start)
    assert step == 7
    np.testing.assert_array_equal(state["x"], np.arange(8.0).reshape(4, 2))
    assert state["key"] == jax.random.key(3)


def test_a_save_takes_the_place_of_later_ones(tmp_path):
    start = {"x": jnp.zeros(3)}
    with Checkpoints(tmp_path) as saved:
        for step in (3, 5, 3):
            saved.save(step, {"x": jnp.full(3, float(step))}, {"at": step})
    with Checkpoints(tmp_path) as saved:
        step, state, notes = saved.restore(start)
    assert (step, notes["at"]) == (3, 3)
    np.testing.assert_array_equal(state["x"], 3.0)


def test_arrays_without_numbers_are_saved_with_the_others(tmp_path):
    state = {"x": jnp.ones(3), "none": jnp.zeros((0, 3))}
    with Checkpoints(tmp_path) as saved:
        saved.save(1, state, {})
    with Checkpoints(tmp_path) as saved:
        step, found, _ = saved.restore({"x": jnp.zeros(3), "none": jnp.zeros((0, 3))})
    assert step == 1
    np.testing.assert_array_equal(found["x"], 1)
    assert found["none"].shape == (0, 3)


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: no space\nlong trace")

    with Checkpoints(tmp_path) as saved:
        monkeypatch.setattr(saved._manager, "save", refuse)
        with pytest.raises(OSError, match="no space") as caught:
            saved.save(1, {"x": jnp.zeros(3)}, {})
    assert caught.value.filename == str(tmp_path)


def test_missing_measurements_are_named(tmp_path):
    run(tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    for left in ([], lines[:2] + lines[4:], lines[:-1]):
        (tmp_path / "metrics.jsonl").write_text("".join(left))
        with pytest.raises(SettingsError, match="metrics.jsonl lacks measurements"):
            run(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(NonFiniteLossError, match="tanh RNN, seed 0: .* at step [12]"):
        run(tmp_path, seeds=(0,), learning_rate=1e38)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0]


def test_the_last_sound_state_takes_the_place_of_unsound_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "STRETCH", 0.0)
    with pytest.raises(NonFiniteLossError):
        run(tmp_path, seeds=(0,), learning_rate=1e38, save_every=0.0)
    settings = dataclasses.replace(SMALL, seeds=(0,), learning_rate=1e38)
    start = Learner(adding_task(settings), "rnn", settings).start(settings)
    with Checkpoints(tmp_path / "checkpoints" / "adding" / "rnn") as saved:
        step, state, _ = saved.restore(start)
    assert step == 0
    for sound, found in zip(*map(jax.tree.leaves, (start, state)), strict=True):
        assert jnp.issubdtype(found.dtype, jax.dtypes.prng_key) or np.all(
            np.isfinite(found) | ~np.isfinite(sound)
        )


def test_parameters_that_are_not_finite_end_the_run_before_their_loss_does(tmp_path):
    with pytest.raises(NonFiniteLossError, match="seed 0: .* a parameter at step 0"):
        run(tmp_path, seeds=(0,), optimizer="rmsprop", learning_rate=3e38)


def test_a_run_that_diverges_keeps_the_last_state_it_measured(
    whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(pace, "STRETCH", 0.0)
    advance = Learner.advance

    def spoil(learner, state, done, until, feed):
        if done == 4:
            bad = jax.tree.map(lambda x: x + jnp.nan, state.params)
            state = state._replace(params=bad)
        return advance(learner, state, done, until, feed)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "advance", spoil)
        with pytest.raises(NonFiniteLossError, match="at step 4"):
            run(tmp_path, save_every=0.0)
    seen = []
    resumed = run(tmp_path, advance=lambda done, score: seen.append(done))
    assert seen[0] == 4
    assert_equal(whole["rnn"], (resumed, tmp_path))


def test_parameters_that_are_not_finite_are_never_the_best():
    settings = PixelDigitsSettings(hidden=4, seeds=(0,), methods=("rnn",))
    learner = Learner(pixel_digits_task(settings), "rnn", settings)
    state, score, _ = learner.evaluator.validate(learner.start(settings), 0)
    assert np.all(np.isfinite(score))
    broken = jax.tree.map(lambda x: x.at[..., 0].set(jnp.inf), state.params)
    state, score, _ = learner.evaluator.validate(state._replace(params=broken), 1)
    assert np.all(np.isnan(score))
    assert int(state.best_step[0]) == 0
    for leaf in jax.tree.leaves(state.best_params):
        assert np.all(np.isfinite(leaf))


def test_a_seed_that_diverges_fails_alone_if_others_are_to_go_on(tmp_path, monkeypatch):
    settings = {"steps": 6, "keep_going": True}
    sound = run(tmp_path / "sound", **settings)

    start_one = Learner.start

    def start(learner, chosen):
        state = start_one(learner, chosen)
        spoilt = jax.tree.map(lambda x: x.at[0].set(jnp.nan), state.params)
        return state._replace(params=spoilt)

    monkeypatch.setattr(Learner, "start", start)
    with pytest.raises(NonFiniteLossError):
        run(tmp_path / "strict", steps=6)
    found = run(tmp_path / "spoilt", **settings)
    np.testing.assert_array_equal(found.diverged, [True, False])
    assert np.isnan(found.measurements[-1].score[0])
    for one, other in zip(found.measurements, sound.measurements, strict=True):
        for mine, its in zip(one[1:], other[1:], strict=True):
            np.testing.assert_array_equal(mine[1], its[1])
    assert found.scores[1] == sound.scores[1]


def test_ending_worse_than_untrained_is_diverging(tmp_path):
    found = run(tmp_path, learning_rate=1e4, keep_going=True)
    np.testing.assert_array_equal(found.diverged, True)
    # The untrained state stays the best.
    assert found.best_steps == (0, 0)
    assert np.all(np.isfinite(found.scores))


def test_names_the_seed_whose_number_is_not_finite():
    settings = dataclasses.replace(SMALL, seeds=(7, 8))
    with pytest.raises(NonFiniteLossError, match="seed 8: the loss at step 11 is"):
        check_finite(np.array([1.0, np.inf]), "the loss at step 11", "rnn", settings)
    check_finite(np.ones(2), "the loss at step 11", "rnn", settings)
