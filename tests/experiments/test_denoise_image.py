import numpy as np
import pytest

from experiments.__main__ import main
from experiments.data.pictures import load_picture
from experiments.denoise_image import (
    KERNELS,
    MODES,
    DenoiseImageSettings,
    Fit,
    denoise_image_checks,
    fit,
    peak_ratio,
)


def test_the_peak_ratio_of_a_tenth_is_twenty_decibels():
    assert peak_ratio(np.full((3, 3), 0.4), np.full((3, 3), 0.5)) == pytest.approx(20)


@pytest.mark.slow
def test_the_normalized_decoder_fits_sooner():
    settings = DenoiseImageSettings(size=64, features=8, steps=40, measure_every=15)
    clean = load_picture("camera", 64)
    found = {mode: fit(3, mode, clean, clean, settings) for mode in MODES}
    assert found["full"].steps == [0, 15, 30, 40]
    assert found["full"].losses[-1] < found["bias"].losses[-1] / 2
    best = max(found["full"].ratios)
    assert peak_ratio(found["full"].best, clean) == pytest.approx(best)
    # Fitted to the clean picture, loss and ratio are one number.
    for loss, ratio in zip(found["full"].losses, found["full"].ratios, strict=True):
        assert -10 * np.log10(loss) == pytest.approx(ratio, abs=1e-4)


@pytest.mark.parametrize(
    ("full", "bias", "noisy", "met"),
    [(25, 20, 22, [True] * 3), (19, 24, 22, [False] * 3)],
)
def test_judges(full, bias, noisy, met):
    ratios = {"full": full, "bias": bias}
    fits = {
        (name, mode): Fit(
            [0], [ratios[mode]], [10 ** (-ratios[mode] / 10)], np.zeros(0)
        )
        for name in KERNELS
        for mode in MODES
    }
    assert [check.met for check in denoise_image_checks(fits, noisy)] == met


@pytest.mark.slow
def test_prints_a_table_and_draws_a_figure(tmp_path, capsys):
    tiny = ["--size", "64", "--features", "2", "--steps", "3", "--measure-every", "2"]
    figure = tmp_path / "new" / "denoised"
    assert main(["denoise_image", *tiny, "--figure", str(figure)]) == 0
    printed = capsys.readouterr().out
    assert "the noisy picture has 20." in printed
    assert printed.count("deep image prior") == 2
    assert figure.with_suffix(".png").stat().st_size > 10_000


def test_refuses_bad_settings(capsys):
    assert main(["denoise_image", "--size", "40", "--momentum", "1"]) == 2
    assert "--size must be a multiple of 32, at least 64" in capsys.readouterr().err
    assert main(["denoise_image", "--picture", "camra"]) == 2
    assert "did you mean camera?" in capsys.readouterr().err
