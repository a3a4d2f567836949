"""The attack sets of a study, found by differential evolution and kept as files.

Every pretrained policy gets two for each bound, one to train with and one to evaluate
with: OUT/attacks/policy-0-bound-0.3-training.json and ...-evaluation.json.
"""

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments import programs, run_configs
from experiments.perturbations import is_calibrated, num_periods
from experiments.programs import OfflineProgram, pretraining_key
from experiments.progress import progress_bar
from experiments.settings import ConfigError
from experiments.study import Run
from rpex_jax import results, sweep
from rpex_jax.agents import AGENTS
from rpex_jax.attacks.curriculum import equal_exposure, linear_increment
from rpex_jax.attacks.differential_evolution import DESettings
from rpex_jax.data import attack_sets
from rpex_jax.data.attack_sets import AttackSet
from rpex_jax.devices import cut, run_mesh, spread
from rpex_jax.envs import Env
from rpex_jax.training.attack import best
from rpex_jax.training.offline import OfflineState
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Agent, Array

PURPOSES = ("training", "evaluation")


class Target(NamedTuple):
    """A pretrained policy and the bound that it is attacked within."""

    number: int  # of the pretraining
    bound: float

    def path(self, out: Path, purpose: str) -> Path:
        """Of the file with the set."""
        name = f"policy-{self.number}-bound-{self.bound:g}-{purpose}.json"
        return out / "attacks" / name


def target_of(run: Run, numbers: dict[Hashable, int]) -> Target:
    """What a run starts from and is attacked within; `numbers` are by pretraining."""
    return Target(numbers[pretraining_key(run)], run.config.perturbation.bound)


def purposes(run: Run) -> tuple[str, ...]:
    """The sets that a run needs and that no file of the user's gives."""
    perturbation = run.config.perturbation
    needed = {
        "training": perturbation.kind == "adversarial" and not perturbation.attack_set,
        "evaluation": "adversarial" in run.config.evaluation.conditions,
    }
    return tuple(purpose for purpose in PURPOSES if needed[purpose])


def settings(attack: ConfigDict) -> DESettings:
    """Of the search, from a config's section `attack`."""
    return DESettings(**{key: attack[key] for key in DESettings.__dataclass_fields__})


def search(
    description: str,
    agent: Agent,
    env: Env,
    attack: ConfigDict,
    states: OfflineState,
    runs: RunConfig,
    bounds: Array,
    purpose: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Attacks the policies of runs of one program, with a bar.

    Args:
      description: of the bar.
      agent: of all runs.
      env: where.
      attack: a config's section `attack`.
      states: agents and statistics, [runs, ...].
      runs: what they are told, [runs, ...].
      bounds: [runs].
      purpose: another number is another search.

    Returns:
      The best of each search, [runs, searches, action_dim], and its mean return,
      [runs, searches], in the episodes of the search.
    """
    mesh = run_mesh(len(bounds))
    phase = sweep.attack_phase(
        agent,
        env,
        settings(attack),
        num_searches=attack.searches,
        num_episodes=attack.episodes,
        mesh=mesh,
    )
    of_searches = (*spread((states, runs, bounds), mesh), purpose)
    with progress_bar(description, attack.generations + 1, "generation") as bar:
        found = phase.start(*of_searches)
        for number in range(attack.generations):
            lowest = jax.block_until_ready(found.fitness).min(-1).mean()
            bar.set_postfix({"return": f"{lowest:.0f}"})
            bar.update()
            found = phase.generation(number, found, *of_searches)
        vectors, returns = cut(jax.vmap(best)(found), len(bounds))
        bar.update()
    return vectors, returns


def find(
    out: Path,
    env: Env,
    runs: Iterable[Run],
    numbers: dict[Hashable, int],
    pretrained: dict[Hashable, Any],
) -> None:
    """Makes the sets that are missing; `numbers` and states are by pretraining."""
    wanted: dict[str, dict[Target, Run]] = {purpose: {} for purpose in PURPOSES}
    for run in runs:
        target = target_of(run, numbers)
        for purpose in purposes(run):
            if not target.path(out, purpose).exists():
                wanted[purpose].setdefault(target, run)
    for purpose, targets in wanted.items():
        for program, group in by_program(targets).items():
            states = [pretrained[pretraining_key(run)] for run in group.values()]
            _find(out, env, program.base, purpose, group, sweep.stack(states))


def by_program(targets: dict[Target, Run]) -> dict[OfflineProgram, dict[Target, Run]]:
    """Targets whose policies were trained by one program together."""
    groups = sweep.group_by(
        targets, lambda target: programs.offline_program(targets[target])
    )
    return {
        program: {target: targets[target] for target in members}
        for program, members in groups.items()
    }


def _find(
    out: Path,
    env: Env,
    base: str,
    purpose: str,
    targets: dict[Target, Run],
    states: Any,
) -> None:
    """The sets of one program's policies, and their files."""
    members = list(targets.values())
    config = members[0].config
    vectors, returns = search(
        f"attacks for {purpose}",
        AGENTS[base],
        env,
        config.attack,
        states,
        sweep.stack([run_configs.offline_run(run) for run in members]),
        jnp.array([target.bound for target in targets]),
        PURPOSES.index(purpose),
    )
    (out / "attacks").mkdir(exist_ok=True)
    about = config.attack.to_dict()
    for target, run, of_vectors, of_returns in zip(
        targets, members, vectors, returns, strict=True
    ):
        started = run.pretraining.items()
        found = AttackSet(
            env=env.name,
            bound=target.bound,
            vectors=of_vectors,
            returns=of_returns,
            settings=about,
            policy=" ".join(f"{name}={value}" for name, value in started),
        )
        attack_sets.save(target.path(out, purpose), found)


def check_given(env: Env, runs: list[Run]) -> None:
    """Checks the files that runs name before anything trains.

    Raises:
      AttackSetError: one is for another world.
      ConfigError: one was found within another bound.
    """
    named = {
        (run.config.perturbation.attack_set, run.config.perturbation.bound)
        for run in runs
        if run.config.perturbation.attack_set
    }
    for path, bound in named:
        width = env.spec.action_dim
        found = attack_sets.load(path, env_name=env.name, action_dim=width)
        if found.bound != bound:
            raise ConfigError(
                f"perturbation.bound is {bound}; it must be that of "
                f"perturbation.attack_set {path}, {found.bound}"
            )


def check_calibrated(runs: list[Run]) -> None:
    """Raises a `ConfigError` where a linear curriculum waits for adaptive runs in vain.

    They must be in the study, and alike in all but seed and curriculum.
    """
    perturbed = [run for run in runs if run.config.perturbation.kind != "none"]
    there = [_adaptive(run) for run in perturbed]
    for run in filter(lambda run: is_calibrated(run.config), perturbed):
        wanted = _adaptive(run)
        if not any(
            other == wanted and each.config.curriculum.kind == "adaptive"
            for other, each in zip(there, perturbed, strict=True)
        ):
            raise ConfigError(
                "curriculum.q_max is 0, which is taken from adaptive runs; sweep.axes "
                "must have curriculum.kind=linear,adaptive"
            )


def _adaptive(run: Run) -> dict:
    """The labels of the runs that a linear curriculum takes its q_max from."""
    free = ("seed", "curriculum.kind", "curriculum.q_max")
    same = {name: value for name, value in run.labels.items() if name not in free}
    return same | {"curriculum.kind": "adaptive"}


def load(out: Path, env: Env, run: Run, number: int, purpose: str) -> np.ndarray:
    """The members for one run, [K, action_dim]; zeros where it needs none.

    Raises:
      AttackSetError: the file is not what the run needs.
    """
    config = run.config
    bound, given = config.perturbation.bound, config.perturbation.attack_set
    width = env.spec.action_dim
    if purpose == "training" and given:
        return attack_sets.load(given, env_name=env.name, action_dim=width).vectors
    if purpose not in purposes(run):
        return np.zeros((config.attack.searches, width), np.float32)
    path = Target(number, bound).path(out, purpose)
    return attack_sets.load(path, env_name=env.name, action_dim=width).vectors


def online_run(run: Run, out: Path, env: Env, number: int) -> RunConfig:
    """What a run is told online, with what the study itself found out.

    Raises:
      AttackSetError: see `load`.
    """
    told = run_configs.online_run(run)
    if told.perturbation is None:
        return told
    members = load(out, env, run, number, "training")
    perturbation = told.perturbation.replace(members=members)
    if is_calibrated(run.config):
        q_max = calibrated_q_max(run, results.read_rows(out / "chunks.jsonl"))
        increment = linear_increment(q_max, num_periods(run.config))
        curriculum = perturbation.curriculum.replace(increment=increment)
        perturbation = perturbation.replace(curriculum=curriculum)
    return told.replace(perturbation=perturbation)


def calibrated_q_max(run: Run, rows: list[dict]) -> float:
    """Of a linear curriculum as exposed as the study's adaptive ones, over all seeds.

    But for those that have failed, whose q says nothing of a whole training.

    Raises:
      ConfigError: all adaptive runs have failed.

    Source: arXiv 2510.13358, section 5.3.
    """
    adaptive = _adaptive(run) | {"phase": "online"}
    of_adaptive = [
        row
        for row in rows
        if all(row.get(name) == value for name, value in adaptive.items())
    ]
    failed = {row["seed"] for row in of_adaptive if "failed" in row}
    exposure = [row["curriculum/q"] for row in of_adaptive if row["seed"] not in failed]
    if not exposure:
        raise ConfigError(
            "curriculum.q_max is 0, which takes it from the study's adaptive runs, and "
            "all of these have failed; it must be a number in (0, 1]"
        )
    return equal_exposure(float(np.mean(exposure)), num_periods(run.config))
