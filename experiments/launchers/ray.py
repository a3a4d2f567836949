"""Units as tasks of Ray, on this machine or on the cluster that RAY_ADDRESS names.

A task whose worker dies is started again and goes on from its unit's checkpoints. All
machines must see the study's folder.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import interruption
from experiments.command_line import use_cores
from experiments.progress import progress_bar
from experiments.settings import ConfigError
from experiments.units import Unit
from experiments.worker import run_unit

RETRIES = 10  # of a unit, after its worker has died
PATIENCE = 1.0  # seconds between looks at a signal


class Ray:
    """Resources are options of `ray.remote`: num_cpus, num_gpus, memory, ...

    Raises:
      ConfigError: Ray is not there, or knows no such option.
    """

    on_signal = interruption.LOST

    def __init__(self, resources: dict[str, Any]):
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                "--launcher is 'ray', which is not installed; pip install -e '.[ray]'"
            ) from error
        self._options = {"max_retries": RETRIES} | resources
        try:
            self._task = ray.remote(**self._options)(run_on_own_cores)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"--resources is {resources}: {' '.join(str(error).split())}"
            ) from error

    def __call__(self, out: Path, units: list[Unit], check: Callable[[], None]) -> None:
        import ray

        try:
            ray.init(ignore_reinit_error=True, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason, address = " ".join(str(error).split()), os.getenv("RAY_ADDRESS")
            raise ConfigError(
                f"RAY_ADDRESS is {address!r}, where Ray finds no cluster ({reason}); "
                "it must be host:port of one that runs, or empty"
                if address
                else f"--launcher is 'ray', which does not start: {reason}"
            ) from error
        waiting = [self._task.remote(out.absolute(), unit) for unit in units]
        with progress_bar("units", len(units), "unit") as bar:
            while waiting:
                done, waiting = ray.wait(waiting, timeout=PATIENCE)
                try:
                    ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                bar.update(len(done))
                check()

    def describe(self, out: Path, units: list[Unit]) -> str:
        return f"tasks of Ray, each with {self._options}"


def run_on_own_cores(out: Path, unit: Unit) -> None:
    """What a worker does, which sees all cores and has but some."""
    import ray

    own = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    use_cores(max(1, int(own)))
    run_unit(out, unit)
