"""Units as an array of Slurm jobs, through submitit.

A job that meets its time limit is queued again and goes on from its unit's checkpoints.
All machines must see the study's folder, where submitit keeps its own in `jobs`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import interruption
from experiments.command_line import use_cores
from experiments.progress import progress_bar
from experiments.settings import ConfigError
from experiments.units import Unit
from experiments.worker import run_unit
from rpex_jax.devices import num_cores

PATIENCE = 10.0  # seconds between looks at the jobs
TIMEOUTS = 100  # of a unit; submitit's own three would end a study of a week
DAY = 24 * 60  # minutes that a job gets if the user does not say


class Slurm:
    """Resources are submitit's parameters: timeout_min, slurm_partition, ...

    Args:
      resources: of each unit.
      cluster: of `submitit.AutoExecutor`; "local" is processes of this machine.

    Raises:
      ConfigError: submitit is not there.
    """

    on_signal = interruption.LOST

    def __init__(self, resources: dict[str, Any], cluster: str = "slurm"):
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                "--launcher is 'slurm', which needs submitit; pip install -e '.[slurm]'"
            ) from error
        self._parameters = {"name": "rpex", "timeout_min": DAY} | resources
        self._cluster = cluster
        try:
            _on_paper(Path(), self._parameters, 1)
        except (AssertionError, NameError, ValueError) as error:
            raise ConfigError(
                f"--resources is {resources}: {' '.join(str(error).split())}"
            ) from error

    def __call__(self, out: Path, units: list[Unit], check: Callable[[], None]) -> None:
        import submitit

        class Job(submitit.helpers.Checkpointable):
            """Queued again as it is, since a unit finds its own checkpoints."""

            def __call__(self, out: Path, unit: Unit) -> None:
                use_cores(num_cores())
                run_unit(out, unit)

        try:
            executor = submitit.AutoExecutor(
                out.absolute() / "jobs",
                self._cluster,
                slurm_max_num_timeout=TIMEOUTS,
            )
        except RuntimeError as error:  # it found no srun
            raise ConfigError(f"--launcher is 'slurm': {error}") from error
        executor.update_parameters(**self._parameters)
        with executor.batch():
            jobs = [executor.submit(Job(), out.absolute(), unit) for unit in units]
        try:
            with progress_bar("units", len(units), "unit") as bar:
                while running := [job for job in jobs if not job.done()]:
                    bar.update(len(jobs) - len(running) - bar.n)
                    check()
                    time.sleep(PATIENCE)
                for job in jobs:
                    job.result()  # raises what ended it
                bar.update(len(jobs) - bar.n)
        finally:
            for job in jobs:
                job.cancel()  # those that are still there

    def describe(self, out: Path, units: list[Unit]) -> str:
        script = _on_paper(out.absolute() / "jobs", self._parameters, len(units))
        return f"an array of Slurm jobs:\n\n{script}"


def _on_paper(folder: Path, parameters: dict[str, Any], count: int) -> str:
    """The script that submitit would submit; Slurm need not be here."""
    import submitit

    class Anywhere(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 1

    class OnPaper(submitit.AutoExecutor):
        def __init__(self):
            self.cluster = "slurm"
            self._executor = Anywhere(folder)
            self._deprecated_args = {}
            submitit.Executor.__init__(self, folder, self._executor.parameters)

    auto = OnPaper()
    auto.update_parameters(**parameters)
    slurm = auto._executor
    slurm.parameters["map_count"] = count
    return slurm._make_submission_file_text(slurm._submitit_command_str, "")
