import pytest

from benchmarks._report import Line, as_ratio, print_line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (250.4, "250"),
        (4.123, "4.12"),
        (0.5, "0.50"),
        (0.25, "1/4"),
        (1 / 35.2, "1/35.2"),
    ],
)
def test_ratios_read_as_people_say_them(value, text):
    assert as_ratio(value) == text


def test_a_line_reports_the_median_of_the_ratios_of_each_round(capsys):
    # The machine halves its speed in the last round: both slow down, the ratio stays.
    line = Line("ours", "theirs", goal=0.5)
    print_line(64, line, [1.0, 1.0, 2.0], [2.0, 2.0, 4.0], [0.5, 0.5, 1.0])
    assert capsys.readouterr().out.split() == [
        "ours", "64", "1000", "ms", "2.00",
        "theirs", "2000", "ms", "0.50", "0%", "0.50", "met",
    ]  # fmt: skip


def test_a_line_of_memory_has_no_unit_and_no_spread(capsys):
    print_line(64, Line("ours", "theirs", memory=True), [5e7], [1e8], [])
    assert capsys.readouterr().out.split() == [
        "ours", "64", "50", "MB", "theirs", "100", "MB", "0.50",
    ]  # fmt: skip
