import json
import subprocess
import sys
import time

import jax
import pytest

from experiments import comparison
from experiments.__main__ import main
from experiments.catalog import EXPERIMENTS
from experiments.fit import NonFiniteLossError
from experiments.interruption import InterruptedRunError
from experiments.run_directory import RunDirectory
from experiments.standalone import STANDALONE

TINY = "--steps 4 --evaluate-every 2 --hidden 4 --batch 8 --seeds 0".split()
RNN = ["adding", "--length", "6", "--methods", "rnn", *TINY]


def exit_code(arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


@pytest.mark.parametrize(
    "command", [[], ["list"], ["adding"], ["pixel_digits"], ["demo"]]
)
def test_help_is_no_error(command, capsys):
    assert exit_code([*command, "--help"]) == 0
    assert "--help" in capsys.readouterr().out


def test_help_of_a_preset_shows_its_values(capsys):
    assert exit_code(["adding", "--preset=paper", "--help"]) == 0
    assert "default: 170" in " ".join(capsys.readouterr().out.split())


def test_list_names_every_experiment(tmp_path, capsys):
    assert main(["list", "--runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines[1:]]
    assert names == ["demo", *EXPERIMENTS, *STANDALONE]


def test_an_unknown_flag_suggests_the_nearest(capsys):
    assert exit_code(["adding", "--lenght", "10"]) == 2
    assert "--length" in capsys.readouterr().err


def test_an_unknown_command_suggests_the_nearest(capsys):
    assert exit_code(["ading"]) == 2
    assert "ading is no command; did you mean adding?" in capsys.readouterr().err
    assert exit_code(["xyz"]) == 2
    assert "there are list, demo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adding", "--methods", "rnn", "--radius", "0.1"], "--radius changes nothing"),
        (["adding", "--data-dir", "."], "--data-dir changes nothing"),
        (["pixel_mnist", "--permutation-seed", "1"], "without --permuted"),
        (["adding", "--preset", "h_detach"], "one of quick, paper, sbo_rnn_100,"),
        (["sweep", "adding", "--preset", "h_detach"], "--preset must be one of quick"),
        (["copying", "--methods", "rnn", "--uniform"], "--uniform changes nothing"),
        (["sweep", "copying", "--data-dir", "."], "--data-dir changes nothing"),
        (
            ["sweep", "adding", "--method", "gru", "--over", "negatives=0..4"],
            "--negatives changes nothing",
        ),
    ],
)
def test_options_that_change_nothing_exit_with_2(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--runs", str(tmp_path / "runs")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [["adding", "--preset", "fast"], ["adding", "--steps", "many"]],
)
def test_words_that_mean_nothing_exit_with_2(arguments):
    assert exit_code(arguments) == 2


def test_values_that_cannot_be_run_exit_with_2_before_any_work(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(comparison, "train", None)
    bad = ["--length", "1", "--batch", "0", "--learning-rate", "-1"]
    assert main(["adding", "--runs", str(tmp_path / "runs"), *bad]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--batch must be at least 1, got 0.",
        "--learning-rate must be positive, got -1.0.",
        "--length must be at least 2, got 1.",
    ]
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_run_leaves_a_directory_and_prints_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(RNN) == 0
    printed = capsys.readouterr().out
    assert "tanh RNN\n" in printed
    assert "always answering 1 (1/6): 0.1667" in printed
    assert [found.name for found in tmp_path.iterdir()] == ["runs"]

    run = tmp_path / "runs" / "adding"
    lines = list(map(json.loads, (run / "metrics.jsonl").read_text().splitlines()))
    assert [(line["method"], line["step"]) for line in lines] == [
        ("rnn", 0),
        ("rnn", 2),
        ("rnn", 4),
    ]
    assert lines[0]["loss"] is None
    result = json.loads((run / "result.json").read_text())
    assert [one["method"] for one in result["methods"]] == ["rnn"]
    assert (run / "figures" / "adding.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "figures" / "adding.pdf").read_bytes().startswith(b"%PDF")

    first = (run / "metrics.jsonl").read_bytes()
    assert main(RNN) == 0
    assert (run / "metrics.jsonl").read_bytes() == first
    assert main([*RNN, "--length", "8"]) == 2
    assert "length: 6 there, 8 asked" in capsys.readouterr().err
    assert main([*RNN, "--length", "8", "--force"]) == 0
    assert json.loads((run / "settings.json").read_text())["length"] == 8


def test_a_loss_that_is_not_finite_exits_with_4(tmp_path, capsys, monkeypatch):
    def diverge(*_):
        raise NonFiniteLossError("the loss is nan at step 3")

    monkeypatch.setattr(comparison, "train", diverge)
    assert main([*RNN, "--runs", str(tmp_path)]) == 4
    assert capsys.readouterr().err == "the loss is nan at step 3\n"
    assert not (tmp_path / "adding" / "result.json").exists()


@pytest.mark.slow
def test_a_signal_exits_with_5(tmp_path, capsys):
    long = [*RNN, "--steps", "1000000", "--runs", str(tmp_path)]
    command = [sys.executable, "-m", "experiments", *long]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = tmp_path / "adding" / "metrics.jsonl"
        while not (lines.exists() and lines.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        _, printed = process.communicate()
    assert process.returncode == 5
    assert "the same command goes on from there" in printed


def test_a_place_that_cannot_be_written_exits_with_1(tmp_path, capsys):
    (tmp_path / "runs").write_text("a file")
    assert main([*RNN, "--runs", str(tmp_path / "runs")]) == 1
    assert str(tmp_path / "runs") in capsys.readouterr().err


@pytest.mark.slow
def test_a_disk_that_fills_up_exits_with_1_and_keeps_what_was_measured(
    tmp_path, capsys, monkeypatch
):
    log = RunDirectory.log

    def fill(directory, records):
        if directory._metrics.tell():
            directory._metrics.close()
            directory._metrics = open("/dev/full", "a")
        log(directory, records)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "log", fill)
        assert main([*RNN, "--runs", str(tmp_path)]) == 1
    metrics = tmp_path / "adding" / "metrics.jsonl"
    error = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in error
    assert str(metrics) in error
    (kept,) = metrics.read_text().splitlines()
    assert json.loads(kept)["step"] == 0
    assert main([*RNN, "--runs", str(tmp_path)]) == 0
    assert metrics.read_text().splitlines()[0] == kept


def test_missing_data_exits_with_2(tmp_path, capsys):
    place = ["--runs", str(tmp_path), "--data-dir", str(tmp_path)]
    assert main(["pixel_mnist", *place]) == 2
    assert "train-images-idx3-ubyte.gz" in capsys.readouterr().err


def test_a_device_that_is_not_there_exits_with_2_and_names_those_that_are(
    tmp_path, capsys
):
    absent = {"gpu", "tpu"} - {device.platform for device in jax.devices()}
    there = ", ".join(map(str, jax.devices()))
    for kind in absent:
        for command in (RNN, ["demo"], ["sweep", "adding"]):
            assert main([*command, "--runs", str(tmp_path), "--device", kind]) == 2
            error = capsys.readouterr().err
            assert error == f"--device {kind}: there is none; JAX finds {there}.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_diverging_run_is_diagnosed(tmp_path, capsys):
    assert main([*RNN, "--runs", str(tmp_path), "--learning-rate", "1e38"]) == 4
    assert "seed 0: the loss or a parameter at step" in capsys.readouterr().err
    run = tmp_path / "adding"
    (found,) = json.loads((run / "diagnosis.json").read_text())["methods"]
    assert (found["method"], found["step"]) == ("rnn", 0)
    assert len(found["gradient_over_time"][0]) == 6
    assert set(found["parameters"]) == set(found["gradients"])
    assert not (run / "result.json").exists()

    assert main(["diagnose", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "tanh RNN on adding after 0 steps" in printed
    assert "t = 5" in printed
    assert "seed 0: stable (rnn): over 6 steps" in printed
    folder = run / "diagnosis" / "adding" / "rnn" / "seed0"
    assert "spectral radius of a step" in (folder / "report.txt").read_text()
    assert (folder / "report.png").exists()


def test_diagnoses_runs_alone(tmp_path, capsys):
    assert main(["diagnose", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "settings.json").write_text('{"experiment": "subtracting"}')
    assert main(["diagnose", str(tmp_path)]) == 2
    assert "a run of subtracting, not of adding" in capsys.readouterr().err


@pytest.mark.slow
def test_writes_what_tensorboard_reads(tmp_path):
    assert main([*RNN, "--runs", str(tmp_path), "--tensorboard"]) == 0
    folder = tmp_path / "adding" / "tensorboard" / "adding" / "rnn" / "seed0"
    (file,) = folder.iterdir()
    written = file.read_bytes()
    for name in (b"score", b"loss", b"smallest_gradient", b"largest_gradient"):
        assert name in written


def stop(*_):
    raise InterruptedRunError("stopped")


def test_an_absent_writer_names_its_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setattr(comparison, "train", stop)
    arguments = [*RNN, "--runs", str(tmp_path)]
    assert main(arguments) == 5  # without the flag it is not missed
    assert main([*arguments, "--tensorboard"]) == 2
    assert "of the extra `experiments`" in capsys.readouterr().err


@pytest.mark.slow
def test_low_precision_keeps_coordinates_in_float32(tmp_path, capsys):
    methods = ["rnn", "scornn", "nc_gru", "enrnn", "unprojected_gru"]
    arguments = ["adding", "--length", "6", "--methods", *methods, *TINY]
    arguments += ["--negatives", "2", "--short", "1"]
    assert main([*arguments, "--runs", str(tmp_path), "--dtype", "bfloat16"]) == 0
    printed = capsys.readouterr().out.splitlines()
    (errors,) = [line for line in printed if line.startswith("‖QᵀQ")]
    cells = dict(zip(methods, errors.split("orthogonal Q")[1].split(), strict=True))
    free = {"rnn", "unprojected_gru"}
    assert {name for name, cell in cells.items() if cell == "-"} == free
    assert all(float(cells[name]) < 1e-5 for name in methods if name not in free)


@pytest.mark.slow
def test_a_reader_who_has_gone_ends_no_run(tmp_path):
    command = [sys.executable, "-m", "experiments", *RNN, "--runs", str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stderr.close()
        assert process.wait() == 0
    assert (tmp_path / "adding" / "result.json").exists()


@pytest.mark.slow
def test_the_demonstration_runs_from_end_to_end(tmp_path, capsys):
    steps = ["--adding-steps", "2", "--digits-steps", "2", "--methods", "scornn"]
    assert main(["demo", "--runs", str(tmp_path), *steps]) == 0
    assert capsys.readouterr().out.count(" scoRNN\n") == 2
    assert (tmp_path / "demo" / "figures" / "demo.png").stat().st_size > 10_000
    assert (tmp_path / "demo" / "figures" / "demo.pdf").stat().st_size > 10_000
    result = json.loads((tmp_path / "demo" / "result.json").read_text())
    assert [one["name"] for one in result["comparisons"]] == ["adding", "pixel_digits"]
