"""What the programs that look at trained policies share: flags, returns, a table.

The flags are defined once, so that the programs can be imported side by side.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from experiments import policies
from experiments.command_line import refuse_arguments
from experiments.labels import label_cells, label_names
from experiments.policies import Policies
from experiments.settings import ConfigError
from rpex_jax import results, sweep
from rpex_jax.data import scores
from rpex_jax.envs import Env
from rpex_jax.training.conditions import ON_CRITIC, Attacked

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The policies' folder.")
EPISODES = flags.DEFINE_integer("episodes", 100, "Episodes of each run.", 1)
VIDEO = flags.DEFINE_string("video", None, "Film an episode; its file, out.mp4.")
RUN = flags.DEFINE_integer("run", 0, "Which run, counted as in the table.", 0)


class Row(NamedTuple):
    """The episodes of one run under one condition."""

    labels: dict[str, Any]
    condition: str
    bound: float | None  # of the condition, where it has one
    step: int
    returns: list[float]


def load(
    argv: list[str],
    takes_config: bool = False,
    ignored: Iterable[flags.FlagHolder] = (),
) -> tuple[Env, list[Policies]]:
    """What `--checkpoint` names; see `policies.load` and `refuse_arguments`.

    Raises:
      ConfigError: there is no such checkpoint, or `refuse_arguments` does.
    """
    refuse_arguments(argv, takes_config, ignored)
    if not CHECKPOINT.value:
        raise ConfigError("--checkpoint is empty; it must name the policies' folder")
    return policies.load(Path(CHECKPOINT.value))


def check_bound(key: str, bound: float) -> None:
    """Raises a `ConfigError` unless perturbations can have this bound."""
    if not 0 < bound <= 1:
        raise ConfigError(f"{key} is {bound}; it must lie in (0, 1]")


def rows_under(
    condition: str, env: Env, group: Policies, episodes: int, attacked: Attacked | None
) -> list[Row]:
    """A row for each run of a group, acting greedily.

    Args:
      condition: one of `CONDITIONS`.
      env: where.
      group: the runs.
      episodes: of each.
      attacked: with the run axis of the group; None is enough for "normal".
    """
    pretrained = group.pretrained.agent if condition in ON_CRITIC else group.agent
    evaluate = sweep.conditions_phase(
        group.agent, env, (condition,), num_episodes=episodes, pretrained=pretrained
    )
    returns = evaluate(
        group.states, group.statistics, group.runs, group.step, attacked
    )[condition]
    count = len(group.labels)
    bounds = [None] * count if condition == "normal" else attacked.bound.tolist()
    returns, steps = np.asarray(returns, np.float64).tolist(), group.step.tolist()
    return [
        Row(group.labels[i], condition, bounds[i], steps[i], returns[i])
        for i in range(count)
    ]


def condition_cells(row: Row) -> list[str]:
    """Step, condition and bound."""
    bound = "" if row.bound is None else f"{row.bound:g}"
    return [str(row.step), row.condition, bound]


def score_cell(env_name: str, returns: list[float]) -> str:
    """The D4RL score of the mean, empty where there is none."""
    if not scores.has_reference(env_name):
        return ""
    return f"{scores.normalised_score(env_name, np.mean(returns)):.1f}"


def table(env_name: str, rows: list[Row]) -> str:
    """Every run under every condition, in Markdown."""
    names = label_names(rows)
    header = [*names, "step", "condition", "bound", "return", "score"]
    lines = []
    for row in rows:
        of_run = results.summarise(row.returns)
        spread = f"{of_run.mean:.1f} ± {of_run.standard_error:.1f}"
        line = label_cells(row.labels, names) + condition_cells(row)
        lines.append([*line, spread, score_cell(env_name, row.returns)])
    return (
        f"{results.markdown_table(header, lines)}\n\n"
        "±: standard error over the episodes of a run."
    )
