import json

import pytest

from experiments.__main__ import main
from experiments.report_formats import Section, to_html, to_latex, to_markdown

TINY = (
    "--length 6 --methods rnn scornn --steps 4 --evaluate-every 2 --hidden 4 "
    "--negatives 2 --batch 8"
).split()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    assert main(["adding", "--runs", str(runs), "--seeds", "0", "1", *TINY]) == 0
    return runs / "adding"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_reports_every_method_and_what_differs(run, tmp_path, form, capsys):
    arguments = ["report", str(run), "--format", form, "--output", str(tmp_path)]
    assert main(arguments) == 0
    (file,) = tmp_path.glob("report.*")
    assert str(file) in capsys.readouterr().out
    text = file.read_text()
    assert "tanh RNN" in text
    assert "scoRNN" in text
    assert "hidden 4 (paper: 170)" in text
    assert "length 6 (paper: 200)" in text
    assert len(list((tmp_path / "figures").iterdir())) == 4
    scores = json.loads((run / "result.json").read_text())["methods"][0]["scores"]
    assert f"{sum(scores) / 2:.4f}" in text


@pytest.mark.slow
def test_an_experiment_without_a_paper_setting_is_reported_too(tmp_path):
    small = "--train-symbols 80 --validation-symbols 50 --test-symbols 50".split()
    sizes = "--hidden 4 --steps 2 --batch 2 --seeds 0 --methods gru".split()
    where = ["--runs", str(tmp_path)]
    assert main(["markov_text", *small, *sizes, *where]) == 0
    run = str(tmp_path / "markov_text")
    assert main(["report", run, "--output", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| diverged |" in text
    assert "Unlike the preset paper" not in text


@pytest.mark.slow
def test_several_runs_stand_side_by_side(run, tmp_path):
    assert main(["report", str(run), str(run), "--output", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("## All runs")
    scores = json.loads((run / "result.json").read_text())["methods"][0]["scores"]
    line = next(line for line in text.splitlines() if line.startswith("| tanh RNN"))
    assert line.count(f"{sum(scores) / 2:.4f} ±") == 2


@pytest.mark.slow
def test_the_list_shows_the_last_result(run, capsys):
    assert main(["list", "--runs", str(run.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "; scoRNN " in next(line for line in lines if line.startswith("adding"))
    assert next(line for line in lines if line.startswith("copying")).endswith("none")


@pytest.mark.slow
def test_a_run_that_has_not_ended_is_named(run, tmp_path, capsys):
    (tmp_path / "settings.json").write_text((run / "settings.json").read_text())
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert f"{tmp_path} has not ended" in capsys.readouterr().err
    (tmp_path / "settings.json").unlink()
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


SECTION = Section(
    title="50% & more",
    header=("a|b", "c_d"),
    rows=[("<x>", "1 ± 2")],
    notes=["{note}"],
    figures=[],
)


def test_marks_are_escaped():
    assert r"| a\|b | c_d |" in to_markdown([SECTION])
    latex = to_latex([SECTION])
    assert r"\caption{50\% \& more}" in latex
    assert r"a|b & c\_d \\" in latex
    assert r"<x> & 1 $\pm$ 2 \\" in latex
    assert r"\{note\}" in latex
    page = to_html([SECTION])
    assert "<td>&lt;x&gt;</td>" in page
    assert "50% &amp; more" in page
