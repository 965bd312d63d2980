import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.digit_classifier import Digits
from experiments.distill_data import (
    DistillDataSettings,
    Taught,
    Teacher,
    distill_data_checks,
    draws,
    means,
)

# Two images of each digit: k, and k + 0.5, in one of ten pixels.
IMAGES = jnp.concatenate([jnp.eye(10) * k for k in (1.0, 1.5)])
DIGITS = Digits(IMAGES, jnp.tile(jnp.arange(10), 2))


def test_means_and_draws_have_one_image_of_each_digit():
    np.testing.assert_allclose(means(DIGITS), 1.25 * jnp.eye(10))
    for images in draws(DIGITS, 3):
        np.testing.assert_array_equal(np.argmax(images, axis=1), np.arange(10))


def test_images_are_learned_from_blank():
    settings = DistillDataSettings(steps=20, outer_steps=30, outer_rate=0.2)
    teacher = Teacher(settings, DIGITS, DIGITS)
    blank = teacher.taught(jnp.zeros((10, 10)))
    assert blank.loss == pytest.approx(np.log(10), rel=1e-5)
    images, losses = teacher.learn()
    assert losses[0] == pytest.approx(blank.loss)
    assert teacher.taught(images).loss < losses[0] / 2
    # The hyperparameter is the image: each lights up its own pixel most.
    np.testing.assert_array_equal(np.argmax(images, axis=1), np.arange(10))


def test_claims_compare_with_the_best_of_the_others():
    others = {"means": Taught(0.5, 0.9), "drawn": Taught(0.7, 0.95)}
    good = distill_data_checks({"learned": Taught(0.4, 0.96), **others})
    assert [check.met for check in good] == [True, True]
    bad = distill_data_checks({"learned": Taught(0.6, 0.92), **others})
    assert [check.met for check in bad] == [False, False]


def test_settings_that_cannot_be_run_are_named():
    bad = DistillDataSettings(steps=0, train_images=9, outer_rate=0.0, momentum=1.0)
    assert len(bad.problems()) == 4
    assert not DistillDataSettings().problems()


@pytest.mark.slow
def test_the_command_learns_and_draws(tmp_path, capsys):
    figure = tmp_path / "digits"
    options = ["--steps", "3", "--outer-steps", "2", "--drawn", "2"]
    assert main(["distill_data", *options, "--figure", str(figure)]) == 0
    assert "means of the digits" in capsys.readouterr().out
    assert figure.with_suffix(".png").exists()
