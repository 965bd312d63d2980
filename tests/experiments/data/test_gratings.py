import jax
import numpy as np
import pytest

from experiments.data.gratings import CLASSES, SIDE, gratings


def test_a_grating_is_a_wave_of_its_orientation():
    images, labels = gratings(jax.random.key(0), 200, noise=0.0)
    assert set(np.asarray(labels).tolist()) == set(range(CLASSES))
    for image, label in zip(
        np.asarray(images[..., 0]), np.asarray(labels), strict=True
    ):
        spectrum = np.abs(np.fft.fft2(image, (64, 64)))
        row, column = np.unravel_index(np.argmax(spectrum[:, :32]), (64, 32))
        rows = row - 64 * (row > 32)
        assert np.hypot(rows, column) == pytest.approx(16, abs=2)  # four pixels
        angle = np.pi / CLASSES * label
        along = abs(rows * np.sin(angle) + column * np.cos(angle))
        assert along > 0.97 * np.hypot(rows, column)


def test_noise_has_the_deviation_asked_for():
    clean, noisy = (gratings(jax.random.key(0), 100, noise)[0] for noise in (0.0, 2.0))
    assert clean.shape == (100, SIDE, SIDE, 1)
    assert np.std(noisy - clean) == pytest.approx(2, rel=0.02)
