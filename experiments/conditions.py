"""A study's policies under its conditions: normal, random, adversarial and PGD.

A row of results has the raw returns as `returns` (normal), `returns/random`, and so on.
"""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments import attack_sets, run_configs
from experiments.attack_sets import Target
from experiments.perturbations import pgd_settings
from experiments.programs import pretraining_key
from experiments.study import Run
from rpex_jax import results, sweep
from rpex_jax.agents import AGENTS
from rpex_jax.devices import run_mesh, spread
from rpex_jax.envs import Env
from rpex_jax.training.conditions import Attacked
from rpex_jax.types import Agent


def name_of(condition: str) -> str:
    """Of the returns under a condition in a row of results."""
    return "returns" if condition == "normal" else f"returns/{condition}"


def make_evaluate(
    agent: Agent, env: Env, members: list[Run], mesh: Mesh | None = None
) -> Callable:
    """`evaluate(agents, statistics, runs, steps, attacked) -> {name: returns}`.

    Args:
      agent: of all members.
      env: where.
      members: runs of one program.
      mesh: of the devices that share them.
    """
    config = members[0].config
    evaluate = sweep.conditions_phase(
        agent,
        env,
        config.evaluation.conditions,
        num_episodes=config.evaluation.episodes,
        pretrained=AGENTS[members[0].labels["base"]],
        mesh=mesh,
    )
    return lambda *args: {
        name_of(condition): returns for condition, returns in evaluate(*args).items()
    }


def attacked(
    out: Path, env: Env, members: list[Run], numbers: list[int], pretrained: Any
) -> Attacked:
    """What the runs are evaluated against; `pretrained` has their run axis.

    Raises:
      AttackSetError: an attack set is not what a run needs.
    """
    sets = [
        attack_sets.load(out, env, run, number, "evaluation")
        for run, number in zip(members, numbers, strict=True)
    ]
    return Attacked(
        bound=jnp.array([run.config.perturbation.bound for run in members]),
        members=jnp.stack(sets),
        policy=pretrained.agent,
        config=sweep.stack([run_configs.offline_run(run).agent for run in members]),
        pgd=sweep.stack([pgd_settings(run.config) for run in members]),
    )


def evaluate_pretrained(
    out: Path,
    env: Env,
    runs: list[Run],
    numbers: dict[Hashable, int],
    pretrained: dict[Hashable, Any],
) -> None:
    """A row for every pretrained policy and bound, of phase "pretrained"."""
    rows_file = out / "chunks.jsonl"
    done = {
        Target(row["pretraining"], row["bound"])
        for row in results.read_rows(rows_file)
        if row["phase"] == "pretrained"
    }
    targets: dict[Target, Run] = {}
    for run in runs:
        target = attack_sets.target_of(run, numbers)
        if target not in done:
            targets.setdefault(target, run)
    for program, of_group in attack_sets.by_program(targets).items():
        members = list(of_group.values())
        states = sweep.stack([pretrained[pretraining_key(run)] for run in members])
        told = sweep.stack([run_configs.offline_run(run) for run in members])
        of_numbers = [target.number for target in of_group]
        mesh = run_mesh(len(members))
        evaluate = make_evaluate(AGENTS[program.base], env, members, mesh)
        against = attacked(out, env, members, of_numbers, states)
        states, told, against = spread((states, told, against), mesh)
        returns = evaluate(states.agent, states.statistics, told, states.step, against)
        rows = [
            run.pretraining
            | {"pretraining": target.number, "bound": target.bound}
            | {"group": "pretrained", "phase": "pretrained", "chunk": 0, "step": 0}
            | {
                name: np.asarray(of_runs[i], np.float64).tolist()
                for name, of_runs in returns.items()
            }
            for i, (target, run) in enumerate(of_group.items())
        ]
        results.append_rows(rows_file, rows)
