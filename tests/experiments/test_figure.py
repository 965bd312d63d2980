import numpy as np

from experiments.adding import AddingSettings, adding_task
from experiments.comparison import Comparison
from experiments.figure import draw_figure, draw_scores
from experiments.measurement import Measurement
from experiments.methods import METHODS
from experiments.settings import MethodName
from experiments.training import Training


def made_up(seeds):
    settings = AddingSettings(
        length=6, steps=4, seeds=seeds, validation_sequences=2, test_sequences=2
    )
    count = len(seeds)
    rows = np.arange(1.0, count + 1)
    measurements = [
        Measurement(step, rows, rows, rows, rows / (step + 10), rows, rows)
        for step in (0, 4)
    ]
    gradient = np.outer(rows, 10.0 ** np.arange(-50, 4, 9))
    trainings: dict[MethodName, Training] = {
        method: Training(
            method=method,
            models=[],
            scores=rows,
            best_steps=(4,) * count,
            measurements=measurements,
            diverged=np.zeros(count, bool),
            gradient=gradient,
            seconds=1.0,
            milliseconds_per_step=1.0,
            milliseconds_per_draw=0.1,
        )
        for method in METHODS
    }
    return Comparison(adding_task(settings), settings, trainings, {}, []).drawing()


def test_draws_png_and_pdf_for_one_seed_and_for_several(tmp_path):
    files = draw_figure([made_up((0,)), made_up((0, 1, 2))], tmp_path / "figure")
    assert [file.name for file in files] == ["figure.png", "figure.pdf"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert files[1].read_bytes().startswith(b"%PDF")


def test_draws_the_same_numbers_the_same_way(tmp_path):
    (first, _), (second, _) = (
        draw_figure([made_up((0, 1))], tmp_path / name) for name in ("one", "two")
    )
    assert first.read_bytes() == second.read_bytes()


def test_draws_the_scores_of_every_method(tmp_path):
    files = draw_scores(made_up((0, 1, 2)), tmp_path / "scores")
    assert [file.name for file in files] == ["scores.png", "scores.pdf"]
    assert files[0].stat().st_size > 5000
