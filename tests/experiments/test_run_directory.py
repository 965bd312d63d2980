import json

import pytest

from experiments.adding import AddingSettings
from experiments.run_directory import RunDirectory, SettingsError, read_records


def test_writes_what_was_asked_measured_and_found(tmp_path):
    path = tmp_path / "run"
    with RunDirectory(path, "adding", AddingSettings(seeds=(3,))) as directory:
        directory.log([{"step": 1, "loss": 0.5}])
        # Flushed a line at a time: a reader need not wait for the end.
        assert json.loads((path / "metrics.jsonl").read_text()) == {
            "step": 1,
            "loss": 0.5,
        }
        directory.log([{"step": 2, "loss": None}])
        assert not (path / "result.json").exists()
        directory.finish({"score": 1})
    assert len((path / "metrics.jsonl").read_text().splitlines()) == 2
    assert json.loads((path / "settings.json").read_text())["seeds"] == [3]
    assert json.loads((path / "result.json").read_text()) == {"score": 1}
    circumstances = json.loads((path / "run.json").read_text())
    (start,) = circumstances["starts"]
    assert {"jax", "flax", "python", "devices", "git_revision"} <= set(start)
    assert sorted(found.name for found in path.iterdir()) == [
        "figures",
        "metrics.jsonl",
        "result.json",
        "run.json",
        "settings.json",
    ]


def test_goes_on_with_a_run_of_the_same_settings_and_replaces_it_if_forced(tmp_path):
    with RunDirectory(tmp_path, "adding", AddingSettings()) as directory:
        directory.log([{"step": 1}])
        directory.finish({})
    same = AddingSettings(runs=tmp_path, force=True)
    with RunDirectory(tmp_path, "adding", same) as directory:
        directory.log([{"step": 2}])
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
        assert (tmp_path / "result.json").exists()
    with RunDirectory(tmp_path, "adding", same, force=True):
        assert (tmp_path / "metrics.jsonl").read_text() == ""
        assert not (tmp_path / "result.json").exists()


def test_drops_what_came_after_a_step(tmp_path):
    def record(method, step):
        return {"task": "adding", "method": method, "step": step}

    with RunDirectory(tmp_path, "adding", AddingSettings()) as directory:
        directory.log([record("rnn", 1), record("gru", 9), record("rnn", 2)])
        assert directory.rewind("adding", "rnn", 1) == [record("rnn", 1)]
        directory.log([record("rnn", 3)])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 9, 3]


@pytest.mark.error_text
def test_names_damaged_settings(tmp_path):
    (tmp_path / "settings.json").write_text('{"hidd')
    with pytest.raises(SettingsError, match=r"settings\.json is damaged: .*--force"):
        RunDirectory(tmp_path, "adding", AddingSettings())
    with RunDirectory(tmp_path, "adding", AddingSettings(), force=True):
        assert json.loads((tmp_path / "settings.json").read_text())["hidden"] == 32


@pytest.mark.error_text
def test_keeps_a_run_with_other_settings_unless_forced(tmp_path):
    with RunDirectory(tmp_path, "adding", AddingSettings()) as directory:
        directory.finish({})
    other = AddingSettings(length=100, hidden=8)
    message = "hidden: 32 there, 8 asked; length: 200 there, 100 asked"
    with pytest.raises(SettingsError, match=message):
        RunDirectory(tmp_path, "adding", other)
    assert (tmp_path / "result.json").exists()
    with RunDirectory(tmp_path, "adding", other, force=True):
        assert not (tmp_path / "result.json").exists()


def test_refuses_numbers_that_are_none(tmp_path):
    with (
        RunDirectory(tmp_path, "adding", AddingSettings()) as directory,
        pytest.raises(ValueError, match="Out of range float"),
    ):
        directory.log([{"loss": float("nan")}])


@pytest.mark.error_text
@pytest.mark.parametrize("content", ["{", "null", "5", "[1]"])
def test_names_whatever_is_damaged(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(SettingsError, match=r"settings\.json is damaged"):
        RunDirectory(tmp_path, "adding", AddingSettings())
    for line in (content, "\xff"):
        text = f"{{}}\n{line}\n{{}}\n".encode("latin-1")
        (tmp_path / "metrics.jsonl").write_bytes(text)
        with pytest.raises(SettingsError, match=r"metrics\.jsonl:2 is damaged"):
            read_records(tmp_path)


def test_half_a_line_at_the_end_is_dropped_from_the_file(tmp_path):
    with RunDirectory(tmp_path, "adding", AddingSettings()) as directory:
        directory.log([{"step": 1}])
    with (tmp_path / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 2')
    with RunDirectory(tmp_path, "adding", AddingSettings()) as directory:
        directory.log([{"step": 3}])
    assert [record["step"] for record in read_records(tmp_path)] == [1, 3]


@pytest.mark.error_text
def test_what_is_left_of_a_run_is_not_taken_for_another(tmp_path):
    with RunDirectory(tmp_path, "adding", AddingSettings()) as directory:
        directory.log([{"step": 1}])
        (directory.checkpoints("adding", "rnn") / "3").mkdir(parents=True)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(SettingsError, match="checkpoints but no settings.json"):
        RunDirectory(tmp_path, "adding", AddingSettings())
    with RunDirectory(tmp_path, "adding", AddingSettings(), force=True) as directory:
        assert not directory.checkpoints("adding", "rnn").exists()


def test_every_start_is_noted_and_what_was_drawn(tmp_path):
    for _ in range(2):
        with RunDirectory(tmp_path, "adding", AddingSettings()) as directory:
            directory.note({"order": [2, 0, 1]})
    found = json.loads((tmp_path / "run.json").read_text())
    assert len(found["starts"]) == 2
    assert found["order"] == [2, 0, 1]


def test_a_full_disk_names_the_file(tmp_path):
    def run():
        with RunDirectory(tmp_path, "adding", AddingSettings()) as directory:
            directory._metrics.close()
            directory._metrics = open("/dev/full", "a")
            directory.log([{"step": 1}])

    with pytest.raises(OSError, match="No space left") as caught:
        run()
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")
