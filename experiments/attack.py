"""Attacks the policies of a sweep or of a collection, and films one before and after.

    python -m experiments.attack --checkpoint=runs/walker [--episodes=100] \
      [--config=experiments/configs/attack.py --config.bound=0.3] \
      [--out=attack.json] [--video=walk.mp4] [--run=0]

Differential evolution looks for the static scaling of actions, within +- bound, that
lowers a policy's return most. Prints the return of every run as it is, under random
perturbations and under the worst one found, in fresh episodes, and what was found.
`--out` keeps what the searches found against one run, as an attack set that a sweep
takes as `config.perturbation.attack_set` and `experiments.evaluate` as `--attack_set`.
`--video=walk.mp4` films that run twice: walk-normal.mp4 and walk-attacked.mp4.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from experiments import attack_sets, folders, inspection
from experiments.attack_sets import PURPOSES
from experiments.command_line import (
    CONFIG,
    OUT,
    cache_compilations,
    read_config,
    run,
)
from experiments.configs import attack as defaults
from experiments.films import check_video, film, nth_run
from experiments.inspection import CHECKPOINT, EPISODES, RUN, VIDEO, Row
from experiments.labels import label_cells, label_names
from experiments.policies import Policies
from experiments.settings import INFINITY, ConfigError, check_types, check_values
from rpex_jax import results
from rpex_jax.attacks import differential_evolution
from rpex_jax.data.attack_sets import AttackSet, save
from rpex_jax.envs import Env
from rpex_jax.training.conditions import Attacked
from rpex_jax.training.offline import OfflineState


class Found(NamedTuple):
    """What the searches found against one run."""

    labels: dict[str, Any]
    vectors: np.ndarray  # [searches, action_dim]
    returns: np.ndarray  # [searches], in the episodes of the search
    worst: int  # of the searches


def main(argv: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # Orbax warns of every folder it reads
    config = defaults.get_config()
    if CONFIG.value:
        config = read_config(config)
    check(config)
    if OUT.value:
        folders.check_out_file("--out", Path(OUT.value))
    env, groups = inspection.load(argv, takes_config=True)
    group, place = nth_run(groups, RUN.value)
    if VIDEO.value:
        check_video(env, Path(VIDEO.value))
    cache_compilations()
    rows, found = attack(env, groups, config, EPISODES.value)
    print(f"{inspection.table(env.name, rows)}\n\n{report(found)}")
    of_run = found[RUN.value]
    if OUT.value:
        save(OUT.value, attack_set(env, config, of_run, CHECKPOINT.value))
        print(f"attack set: {OUT.value}")
    if VIDEO.value:
        path, worst = Path(VIDEO.value), of_run.vectors[of_run.worst]
        normal = path.with_stem(f"{path.stem}-normal")
        attacked = path.with_stem(f"{path.stem}-attacked")
        film(env, group, place, {normal: np.zeros_like(worst), attacked: worst})
        print(f"videos: {normal}, {attacked}")


def check(config: ConfigDict) -> None:
    """Raises a `ConfigError` at the first setting that cannot be used."""
    check_types(config, defaults.get_config())
    inspection.check_bound("bound", config.bound)
    ranges = {"searches": (1, INFINITY), "episodes": (1, INFINITY)}
    check_values(config, ranges | {"seed": (0, INFINITY)}, {})
    try:
        differential_evolution.check(attack_sets.settings(config))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def attack(
    env: Env, groups: list[Policies], config: ConfigDict, episodes: int
) -> tuple[list[Row], list[Found]]:
    """Attacks every run; all runs of a group, and all their searches, side by side.

    Returns:
      Rows of every run in fresh episodes: `normal`, `random`, `adversarial` (in turn
      under what each search found) and `worst found` (the one of these with the lowest
      return in the episodes of `adversarial`); and what was found against every run.
    """
    rows, found = [], []
    for group in groups:
        bounds = np.full(len(group.labels), config.bound)
        vectors, returns = attack_sets.search(
            f"attack {env.name}",
            group.agent,
            env,
            config,
            OfflineState(group.states, group.statistics, group.step),
            group.runs,
            jnp.asarray(bounds),
            len(PURPOSES) + config.seed,  # none of the searches of a study
        )
        num_searches = config.searches
        attacked = Attacked(bounds, jnp.asarray(vectors), None, None)
        normal, uniform, adversarial = (
            inspection.rows_under(condition, env, group, num_episodes, attacked)
            for condition, num_episodes in (
                ("normal", episodes),
                ("random", episodes),
                ("adversarial", max(episodes, num_searches)),
            )
        )
        worst = [
            int(
                np.argmin(
                    [np.mean(row.returns[k::num_searches]) for k in range(num_searches)]
                )
            )
            for row in adversarial
        ]
        alone = vectors[np.arange(len(worst)), worst][:, None]
        attacked = attacked._replace(members=jnp.asarray(alone))
        worst_rows = inspection.rows_under(
            "adversarial", env, group, episodes, attacked
        )
        worst_rows = [row._replace(condition="worst found") for row in worst_rows]
        rows += [*normal, *uniform, *adversarial, *worst_rows]
        found += map(Found, group.labels, vectors, returns, worst)
    return rows, found


def attack_set(
    env: Env, config: ConfigDict, found: Found, checkpoint: str
) -> AttackSet:
    """What was found against one run, as it is kept."""
    labels = " ".join(f"{name}={value}" for name, value in found.labels.items())
    return AttackSet(
        env=env.name,
        bound=config.bound,
        vectors=found.vectors,
        returns=found.returns,
        settings=config.to_dict(),
        policy=f"{checkpoint} {labels}",
    )


def report(found: list[Found]) -> str:
    """The worst perturbation of every run, in Markdown."""
    names = label_names(found)
    lines = [
        [
            *label_cells(of_run.labels, names),
            f"{of_run.returns[of_run.worst]:.1f}",
            ", ".join(f"{scale:+.3f}" for scale in of_run.vectors[of_run.worst]),
        ]
        for of_run in found
    ]
    return results.markdown_table(
        [*names, "return in the search", "worst perturbation"], lines
    )


if __name__ == "__main__":
    run(main)
