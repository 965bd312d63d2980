from experiments.progress import progress


def test_prints_a_few_lines_where_there_is_no_terminal(capsys):
    with progress("adding, RNN", 100) as advance:
        for step in range(0, 101, 10):
            advance(step, None)
            advance(step, step / 100)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("adding, RNN: step 30 of 100, validation 0.3000, ")
    assert lines[-1].startswith("adding, RNN: step 100 of 100, validation 1.0000, ")
