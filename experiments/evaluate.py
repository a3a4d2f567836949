"""Evaluates the policies of a sweep or of a collection, and films one.

    python -m experiments.evaluate --checkpoint=runs/quickstart --episodes=100 \
      [--conditions=normal,random,adversarial,pgd --bound=0.3 --attack_set=FILE] \
      [--out=returns.json] [--video=out.mp4 --run=0]

A checkpoint is OUT/checkpoints/GROUP/NUMBER; without the number the last one, and OUT
alone stands for all groups; OUT/snapshots/GROUP/NUMBER is an agent that was kept on the
way (`online.snapshots`). Policies act greedily. Prints two tables in Markdown: mean
raw return of every run, and the mean over runs that differ in their seed alone, with
the standard error in both its kinds; the D4RL score beside each.

Under a condition but `normal` every episode is perturbed, and attacks are made against
the policy that a run started from: a study's pretrained one, a collection's own. A
study has its attack sets in OUT/attacks; for a collection `experiments.attack` makes
one.
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl import flags, logging

from experiments import folders, inspection
from experiments.attack_sets import PURPOSES
from experiments.command_line import OUT, cache_compilations, run
from experiments.configs import attack
from experiments.films import check_video, film, nth_run
from experiments.inspection import EPISODES, RUN, VIDEO, Row
from experiments.labels import label_cells, label_names
from experiments.policies import Policies
from experiments.progress import progress_bar
from experiments.settings import ConfigError, check_name
from rpex_jax import results, sweep
from rpex_jax.data import attack_sets
from rpex_jax.data.attack_sets import AttackSet
from rpex_jax.envs import Env
from rpex_jax.training.conditions import CONDITIONS, Attacked

_CONDITIONS = flags.DEFINE_list("conditions", ["normal"], ", ".join(CONDITIONS))
_BOUND = flags.DEFINE_float(
    "bound", None, "Of perturbations; by default that of the attack set or study."
)
_ATTACK_SET = flags.DEFINE_string("attack_set", None, "File for adversarial.")

SET_OF_EVALUATION = PURPOSES[1]  # training has not seen it


def main(argv: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # Orbax warns of every folder it reads
    conditions = _CONDITIONS.value
    for condition in conditions or [""]:
        check_name("--conditions", condition, CONDITIONS)
    if len(set(conditions)) < len(conditions):
        raise ConfigError(f"--conditions is {conditions}; each may come once")
    if _BOUND.value is not None:
        inspection.check_bound("--bound", _BOUND.value)
    if OUT.value:
        folders.check_out_file("--out", Path(OUT.value))
    env, groups = inspection.load(argv)
    given = read_attack_set(env, _ATTACK_SET.value, _BOUND.value)
    attacked = [
        attacks_on(env, group, conditions, _BOUND.value, given) for group in groups
    ]
    filmed, place = nth_run(groups, RUN.value)
    if VIDEO.value:
        check_video(env, Path(VIDEO.value))
    cache_compilations()
    rows = evaluate(env, groups, EPISODES.value, conditions, attacked)
    print(report(env.name, rows))
    if OUT.value:
        about = folders.provenance("experiments.evaluate")
        content = {"env": env.name, "rows": [row._asdict() for row in rows]} | about
        results.write_atomically(Path(OUT.value), json.dumps(content, indent=1) + "\n")
    if VIDEO.value:
        film(env, filmed, place, {Path(VIDEO.value): np.zeros(env.spec.action_dim)})
        print(f"video: {VIDEO.value}")


def read_attack_set(
    env: Env, path: str | None, bound: float | None
) -> AttackSet | None:
    """The set that the user gives, if any.

    Raises:
      AttackSetError: it cannot be used in the environment.
      ConfigError: the bound is not the set's.
    """
    if path is None:
        return None
    given = attack_sets.load(path, env_name=env.name, action_dim=env.spec.action_dim)
    if bound not in (None, given.bound):
        raise ConfigError(
            f"--bound is {bound:g}, but {path} was found within {given.bound:g}; leave "
            "--bound out"
        )
    return given


def attacks_on(
    env: Env,
    group: Policies,
    conditions: list[str],
    bound: float | None,
    given: AttackSet | None,
) -> Attacked:
    """What the runs of a group are evaluated against.

    Raises:
      AttackSetError: the study's own set cannot be used.
      ConfigError: there is none.
    """
    pretrained, count = group.pretrained, len(group.labels)
    bounds = [target.bound for target in pretrained.targets]
    bounds = bounds or [attack.get_config().bound] * count
    if bound or given:
        bounds = [bound or given.bound] * count
    members = np.zeros((count, 1, env.spec.action_dim))
    if given:
        members = np.stack([given.vectors] * count)
    elif "adversarial" in conditions:
        if not pretrained.targets:
            raise ConfigError(
                "--conditions has adversarial, and a collection has no attack set; "
                "--attack_set must name one that experiments.attack made"
            )
        paths = [
            target._replace(bound=bounds[i]).path(pretrained.out, SET_OF_EVALUATION)
            for i, target in enumerate(pretrained.targets)
        ]
        where = {"env_name": env.name, "action_dim": env.spec.action_dim}
        members = np.stack([attack_sets.load(p, **where).vectors for p in paths])
    return Attacked(
        np.array(bounds),
        jnp.asarray(members),
        pretrained.states,
        pretrained.configs,
        sweep.stack([pretrained.pgd] * count),
    )


def evaluate(
    env: Env,
    groups: list[Policies],
    episodes: int,
    conditions: list[str] = ("normal",),
    attacked: list[Attacked] | None = None,
) -> list[Row]:
    """Every run under every condition; the randomness is that of the run and step.

    `attacked`, one for each group, may be left out where all is normal.
    """
    rows = []
    total = sum(len(group.labels) for group in groups) * len(conditions) * episodes
    with progress_bar(f"evaluate {env.name}", total, "episode") as bar:
        for i, group in enumerate(groups):
            for condition in conditions:
                against = attacked[i] if attacked else None
                new = inspection.rows_under(condition, env, group, episodes, against)
                rows += new
                bar.update(len(new) * episodes)
    return rows


def report(env_name: str, rows: list[Row]) -> str:
    """The table of runs and, where a run has several seeds, the one over seeds."""
    text = inspection.table(env_name, rows)
    names = [name for name in label_names(rows) if name != "seed"]
    over_seeds = sweep.group_by(
        rows,
        lambda row: (
            *label_cells(row.labels, names),
            *inspection.condition_cells(row),
        ),
    )
    if all(len(members) == 1 for members in over_seeds.values()):
        return text
    lines = []
    for line, members in over_seeds.items():
        pooled = [value for row in members for value in row.returns]
        means = [np.mean(row.returns) for row in members]
        of_episodes, of_runs = results.summarise(pooled), results.summarise(means)
        lines.append(
            [
                *line,
                f"{of_runs.count}",
                f"{of_runs.mean:.1f}",
                f"{of_episodes.standard_error:.1f}",
                f"{of_runs.standard_error:.1f}",
                inspection.score_cell(env_name, means),
            ]
        )
    header = [*names, "step", "condition", "bound", "seeds", "return"]
    header += ["SE of pooled episodes", "SE of runs", "score"]
    return (
        f"{text}\n\n{results.markdown_table(header, lines)}\n\n"
        "SE: standard error of the mean. Of pooled episodes, as arXiv 2510.13358, it\n"
        "leaves out that the episodes of a run have its policy in common."
    )


if __name__ == "__main__":
    run(main)
