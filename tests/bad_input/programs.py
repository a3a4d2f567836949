"""Runs a program in this process, as `python -m` would."""

import importlib
import sys

import pytest
from absl.testing import flagsaver

from experiments import command_line


def error_of(program: str, arguments: list[str], capfd: pytest.CaptureFixture) -> str:
    """The sentence on stderr; asserts that it is the only line there, and exit code 2.

    Args:
      program: its module.
      arguments: of the command line.
      capfd: of the test.
    """
    main = importlib.import_module(program).main
    capfd.readouterr()
    with (
        pytest.MonkeyPatch.context() as patch,
        flagsaver.flagsaver(),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", [program, *arguments])
        command_line.run(main)
    written = capfd.readouterr().err
    assert ended.value.code == 2, written
    assert written.startswith("error: ") and written.count("\n") == 1, written
    return written.removeprefix("error: ").removesuffix("\n")
