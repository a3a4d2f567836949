"""Who runs the units of a study: each launcher is a library's own API and little else.

A launcher is made from what the user says that a unit gets, and called with the study's
folder, the units, and the check of `experiments.interruption`. A unit that has been
trained is found so, and costs nothing.
"""

import ast
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from experiments.launchers import local, ray, slurm
from experiments.settings import ConfigError
from experiments.units import Unit


class Launcher(Protocol):
    """What runs units, and says how."""

    on_signal: str  # what `experiments.interruption` tells the user

    def __call__(self, out: Path, units: list[Unit], check: Callable[[], None]) -> None:
        """Runs all units to their end; raises what ended one of them."""

    def describe(self, out: Path, units: list[Unit]) -> str:
        """What would be asked for, for `--dry_run`."""


LAUNCHERS: dict[str, Callable[[dict[str, Any]], Launcher]] = {
    "local": local.Local,
    "ray": ray.Ray,
    "slurm": slurm.Slurm,
}


def parse_resources(texts: Iterable[str]) -> dict[str, Any]:
    """Of "num_gpus=1", "partition=long": numbers where they are, else text.

    Raises:
      ConfigError: one is no key=value.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"--resources holds {text!r}; it must be key=value")
        try:
            found[key] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            found[key] = value
    return found
