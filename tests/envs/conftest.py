"""Prints what was compared with Gymnasium, once all tests have run."""

import pytest

_ROWS: list[tuple] = []


@pytest.fixture
def report():
    """Adds a row: engine, task, steps, terminations, deviations, disagreements."""
    return lambda *row: _ROWS.append(row)


def pytest_terminal_summary(terminalreporter):
    if not _ROWS:
        return
    write = terminalreporter.write_line
    terminalreporter.section("one control step against gymnasium.make(task)")
    write("largest deviation relative to max(1, |x|); terminations that disagree")
    heads = ("engine", "task", "steps", "ended", "observation", "reward", "disagree")
    write("{:8}{:28}{:>7}{:>7}{:>13}{:>9}{:>10}".format(*heads))
    for row in _ROWS:
        write("{:8}{:28}{:7}{:7}{:13.1e}{:9.1e}{:10}".format(*row))
