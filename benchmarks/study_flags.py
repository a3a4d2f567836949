"""What benchmarks that run studies are told: how much, where, on which data."""

from collections.abc import Callable
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from experiments import study, study_inputs, sweep
from experiments.settings import ConfigError
from experiments.sinks import SINK

PRESET = flags.DEFINE_enum(
    "preset", "small", ["paper", "medium", "small", "smoke"], "How much to spend."
)
TASKS = flags.DEFINE_list("tasks", [], "Environments; by default the benchmark's own.")
DATA = flags.DEFINE_list(
    "data", [], "A data set for each task; by default one that collect makes."
)
# Of a sweep's flags these benchmarks read `--resume` alone.
IGNORED = (sweep.LAUNCHER, sweep.UNIT_SIZE, sweep.RESOURCES, sweep.DRY_RUN, SINK)


def studies(
    get_config: Callable[[str], ConfigDict],
    preset: str,
    tasks: list[str],
    data: list[str],
    **grid: Any,
) -> list[ConfigDict]:
    """A study for each task, checked; `grid` is set in its section `sweep`.

    Raises:
      ConfigError: a task twice, a setting that cannot be used, or another number of
        data sets.
    """
    if len(set(tasks)) < len(tasks):
        raise ConfigError(f"--tasks is {tasks}; each may come once")
    if data and len(data) != len(tasks):
        raise ConfigError(
            f"--data names {len(data)} data sets for {len(tasks)} --tasks; give one "
            "for each, or none"
        )
    configs = []
    for number, task in enumerate(tasks):
        config = get_config(f"{preset},{task}")
        config.sweep.update(grid)
        if data:
            config.data.source = data[number]
        study.expand_grid(config)
        configs.append(config)
    return configs


def check_data(configs: list[ConfigDict]) -> None:
    """Loads every study's data once: a mistake in the last must not show after hours.

    Raises:
      ConfigError, DatasetError: one is missing, or does not fit its environment.
    """
    for config in configs:
        env, dataset = study_inputs.make_env(config), study_inputs.load_dataset(config)
        study_inputs.check_widths(env, dataset, config.data.source)
