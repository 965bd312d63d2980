import pytest

from experiments.adding import AddingSettings
from experiments.search_space import parse_space


def test_reads_ranges_scales_and_seeds():
    words = ["learning-rate=1e-4..1e-2:log", "radius=0..0.5", "hidden=8..16", "seeds=3"]
    space = parse_space(words, AddingSettings())
    assert space.seeds == 3
    assert [axis.name for axis in space.axes] == ["learning_rate", "radius", "hidden"]
    middle = space.at([0.5, 0.5, 0.4])
    assert middle["learning_rate"] == pytest.approx(1e-3)
    assert middle["radius"] == 0.25
    assert middle["hidden"] == 11
    assert isinstance(middle["hidden"], int)
    ends = space.at([0, 1, 1])
    assert ends == {
        "learning_rate": pytest.approx(1e-4),
        "radius": 0.5,
        "hidden": 16,
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning_rate=1e-4", "write it as learning_rate=LOW..HIGH"),
        ("learning_rate=1e-4..high", "write it as"),
        ("learning_rate=1e-4..1:cubic", "write it as"),
        ("learning_rate=1..0.1", "LOW must lie below HIGH"),
        ("learning_rate=0..0.1:log", "a logarithmic range must be positive"),
        ("learning_rate=0..inf", "must be finite"),
        ("optimizer=0..1", "optimizer is no number among the settings"),
        ("speed=0..1", "speed is no number among the settings"),
        ("seeds=0", "number of seeds must be at least 1"),
        ("seeds=2", "needs at least one setting"),
    ],
)
def test_names_the_word_that_cannot_be_read(word, message):
    with pytest.raises(ValueError, match=message):
        parse_space([word], AddingSettings())


def test_a_setting_is_varied_once():
    with pytest.raises(ValueError, match="names a setting twice"):
        parse_space(["radius=0..1", "radius=0..2"], AddingSettings())
