from experiments.table import aligned, print_table


def test_columns_line_up():
    lines = aligned(("method", "error"), [("RNN", "0.1667"), ("Spectral-RNN", "0.01")])
    assert lines == [
        "method         error",
        "RNN           0.1667",
        "Spectral-RNN    0.01",
    ]


def test_words_are_flush_left_and_a_table_may_be_empty():
    assert aligned(
        ("name", "data"), [("adding", "none"), ("digits", "scikit-learn")]
    ) == [
        "name    data",
        "adding  none",
        "digits  scikit-learn",
    ]
    assert aligned(("name", "error"), []) == ["name  error"]


def test_is_plain_where_there_is_no_terminal(capsys):
    print_table(("a", "b"), [("[bold]", "1")])
    assert capsys.readouterr().out == "a       b\n[bold]  1\n"
