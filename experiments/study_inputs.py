"""The environment and the data set of a study, and whether they fit together."""

from typing import Any

from ml_collections import ConfigDict

from experiments.settings import ConfigError
from experiments.study import Run
from rpex_jax import envs
from rpex_jax.data import sources
from rpex_jax.data.dataset import Dataset
from rpex_jax.data.rewards import RewardUnit, return_range_scale
from rpex_jax.envs import Env


def make_env(config: ConfigDict) -> Env:
    """The environment of a study."""
    try:
        return envs.make(config.env, config.engine or None)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"env: {error}") from error


def load_dataset(config: ConfigDict) -> Dataset:
    """The data set of a study.

    Raises:
      DatasetError: there is none, or it cannot be used.
    """
    return sources.load(
        config.data.source,
        action_range=config.data.action_range or None,
        drop_observation_columns=config.data.drop_observation_columns,
    )


def check_widths(env: Env, dataset: Any, source: str) -> None:
    """Raises a `ConfigError` unless the data set fits the environment."""
    for field, width in (
        ("observations", env.spec.observation_dim),
        ("actions", env.spec.action_dim),
    ):
        found = getattr(dataset.transitions, field).shape[-1]
        if found != width:
            raise ConfigError(
                f"data.source {source!r} has {field} of width {found}, but {env.name} "
                f"has {width}; data.drop_observation_columns can leave columns out"
            )


def check_prefill(runs: list[Run], num_rows: int) -> None:
    """Raises a `ConfigError` unless the share of the data set fits the replay."""
    for online in (run.config.online for run in runs):
        prefill = round(online.prefill * num_rows)
        if prefill > online.capacity:
            raise ConfigError(
                f"online.prefill is {online.prefill}, {prefill} rows of the data set; "
                f"they must fit into online.capacity, {online.capacity}"
            )


def reward_unit(config: ConfigDict, dataset: Dataset) -> RewardUnit:
    """The unit that a study learns rewards in.

    Raises:
      DatasetError: it is to come from the returns of the data, which are all the same.
    """
    scale = config.data.reward_scale or return_range_scale(dataset, config.data.source)
    return RewardUnit(scale, config.data.reward_shift)
