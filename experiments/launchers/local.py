"""Units one after the other, in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import interruption
from experiments.settings import ConfigError
from experiments.units import Unit
from experiments.worker import run_unit


class Local:
    """Raises a `ConfigError` if there are resources: a unit gets what there is."""

    on_signal = interruption.SAVED

    def __init__(self, resources: dict[str, Any]):
        if resources:
            raise ConfigError(
                f"--resources is {resources}; with --launcher=local it must be empty, "
                "a unit has all of this machine"
            )

    def __call__(self, out: Path, units: list[Unit], check: Callable[[], None]) -> None:
        for unit in units:
            print(f"unit {unit.name}")
            run_unit(out, unit, check)

    def describe(self, out: Path, units: list[Unit]) -> str:
        return "one after the other, in this process"
