import io
import sys
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics import fixed_points, grid_points, phase_portrait

BOX = [[-2.0, 2.0], [-1.5, 1.5]]


def double_well(h):
    return jnp.stack([h[1], h[0] - h[0] ** 3 - 0.3 * h[1]])


def words(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.usefixtures("double")
def test_shows_nullclines_fixed_points_and_trajectories():
    curve = np.stack([np.linspace(-1, 1, 9)] * 2, axis=1)
    figure = phase_portrait(
        double_well, BOX, resolution=41, trajectories=[curve, curve]
    )
    axes = figure.axes[0]
    assert words(figure)[2:] == ["trajectory", "stable focus", "saddle"]
    assert words(figure)[0] == r"$\mathrm{d}h_1/\mathrm{d}t = 0$"
    assert axes.get_xlabel() == "$h_1$"
    assert axes.get_xlim() == (-2.0, 2.0)
    (saddle,) = [line for line in axes.lines if line.get_label() == "saddle"]
    np.testing.assert_allclose(np.asarray(saddle.get_xydata()), [[0, 0]], atol=1e-12)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=50)
    assert image.getvalue().startswith(b"\x89PNG")


def test_takes_the_points_and_the_names_it_is_given():
    points = fixed_points(lambda h: -h, grid_points([[-9.0, 9.0]] * 2, 3))
    figure = phase_portrait(
        lambda h: -h, BOX, resolution=11, points=points, labels=("x", "y")
    )
    assert words(figure)[-1] == "stable node"
    assert figure.axes[0].get_ylabel() == "y"
    assert len(words(phase_portrait(lambda h: -h, BOX, resolution=11, points=[]))) == 2


def test_a_field_at_rest_can_be_drawn():
    figure = phase_portrait(lambda h: 0 * h, BOX, resolution=11, points=[])
    figure.savefig(io.BytesIO(), format="png", dpi=50)


@pytest.mark.parametrize("first", [jnp.log, lambda x: 1 / x])
def test_a_field_that_is_not_finite_everywhere_can_be_drawn(first):
    figure = phase_portrait(
        lambda h: jnp.stack([first(h[0]), h[1]]), BOX, resolution=11, points=[]
    )
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    assert figure.axes[0].get_xlim() == (-2.0, 2.0)
    with pytest.raises(ValueError, match="`field` must be finite somewhere"):
        phase_portrait(lambda h: jnp.nan * h, BOX, resolution=11, points=[])


def test_names_are_set_as_they_are_written():
    labels = ("50 % of (mV)", "$a$ and $b$")
    figure = phase_portrait(lambda h: -h, BOX, resolution=11, points=[], labels=labels)
    figure.savefig(io.BytesIO(), format="png", dpi=50)
    assert words(figure) == ["d 50 % of (mV) / dt = 0", "d $a$ and $b$ / dt = 0"]


def test_a_warning_names_the_line_of_the_caller():
    with pytest.warns(UserWarning, match="Single precision") as caught:
        phase_portrait(lambda h: -(h**5), BOX, resolution=11)
    assert caught[0].filename == __file__


def test_rejects_bad_labels_and_points():
    for labels in (("x",), "xy", ("x", 1)):
        with pytest.raises(ValueError, match="`labels` must be two strings"):
            phase_portrait(double_well, BOX, labels=cast(Any, labels))
    volume = fixed_points(lambda h: -h, grid_points([[-1, 1]] * 3, 2))
    for points in (volume, [1]):
        with pytest.raises(ValueError, match="`points` must be fixed points of the pl"):
            phase_portrait(double_well, BOX, points=cast(Any, points))


def test_rejects_bad_arguments():
    with pytest.raises(ValueError, match="`box` must have shape"):
        phase_portrait(double_well, [[-1, 1]] * 3)
    with pytest.raises(ValueError, match="`trajectories` must have shape"):
        phase_portrait(double_well, BOX, trajectories=[np.zeros(3)])
    with pytest.raises(ValueError, match="`resolution` must"):
        phase_portrait(double_well, BOX, resolution=1)


def test_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match="matplotlib, of the extra"):
        phase_portrait(double_well, BOX, resolution=11, points=[])
