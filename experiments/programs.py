"""What is compiled for a study: which runs share a program, and which a pretraining."""

from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from experiments.perturbations import is_calibrated
from experiments.run_configs import offline_run, online_run
from experiments.study import Run
from experiments.study_settings import num_offline
from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.envs import Env
from rpex_jax.methods import METHODS, Method
from rpex_jax.sweep import Phase


class OfflineProgram(NamedTuple):
    """What pretrainings must share to be one compiled program; hashable."""

    base: str
    batch_size: int
    steps: int
    chunk: int
    structure: Any


class OnlineProgram(NamedTuple):
    """The same of online runs."""

    base: str
    method: Method
    batch_size: int
    num_offline: int
    capacity: int
    warmup: int
    steps: int
    chunk: int
    updates_per_step: int
    warmup_actions: str
    online_policy: str
    critic_transfer: str
    num_policies: int
    prefill: float
    attack_set: str
    curriculum_episodes: int
    calibrated: bool
    structure: Any


def offline_program(run: Run) -> OfflineProgram:
    """The pretraining program of a run."""
    offline = run.config.offline
    return OfflineProgram(
        base=run.labels["base"],
        batch_size=offline.batch_size,
        steps=offline.steps,
        chunk=offline.chunk,
        structure=sweep.structure(offline_run(run)),
    )


def online_program(run: Run) -> OnlineProgram:
    """The online program of a run; pex and rpex differ in numbers and share one."""
    online, method = run.config.online, METHODS[run.labels["method"]]
    return OnlineProgram(
        base=run.labels["base"],
        method=method._replace(corrects=False, released=False),
        batch_size=online.batch_size,
        num_offline=num_offline(run.config)
        if method.uses_data and not method.balances
        else 0,
        capacity=online.capacity
        if online.prefill
        else min(online.capacity, online.steps),
        warmup=online.warmup,
        steps=online.steps,
        chunk=online.chunk,
        updates_per_step=online.updates_per_step,
        warmup_actions=online.warmup_actions,
        online_policy=run.config.expansion.online_policy,
        critic_transfer=run.config.expansion.critic_transfer,
        num_policies=run.config.expansion.num_policies if method.expands else 1,
        prefill=online.prefill,
        attack_set=run.config.perturbation.attack_set,
        curriculum_episodes=run.config.curriculum.episodes,
        calibrated=is_calibrated(run.config),
        structure=sweep.structure(online_run(run)),
    )


def pretraining_key(run: Run) -> Hashable:
    """Equal for runs whose pretraining is the same, down to every number."""
    leaves = jax.tree.leaves(offline_run(run))
    numbers = tuple(np.asarray(leaf, np.float64).tobytes() for leaf in leaves)
    return offline_program(run), numbers


def by_pretraining(runs: list[Run]) -> dict[Hashable, list[Run]]:
    """Runs that start from the same pretraining together."""
    return sweep.group_by(runs, pretraining_key)


def offline_phase(
    program: OfflineProgram, env: Env, num_episodes: int, mesh: Mesh | None = None
) -> Phase:
    """Compiled for any number of its runs; a mesh is one of `devices.run_mesh`."""
    return sweep.offline_phase(
        AGENTS[program.base],
        env,
        batch_size=program.batch_size,
        num_updates=program.chunk,
        num_episodes=num_episodes,
        mesh=mesh,
    )


def online_phase(
    program: OnlineProgram,
    env: Env,
    num_rows: int,
    num_episodes: int,
    mesh: Mesh | None = None,
) -> Phase:
    """The same online; the data set has so many rows."""
    return sweep.online_phase(
        AGENTS[program.base],
        program.method,
        env,
        batch_size=program.batch_size,
        num_offline=program.num_offline,
        capacity=program.capacity,
        warmup=program.warmup,
        num_steps=program.chunk,
        updates_per_step=program.updates_per_step,
        num_episodes=num_episodes,
        online_policy=program.online_policy,
        critic_transfer=program.critic_transfer,
        warmup_actions=program.warmup_actions,
        prefill=round(program.prefill * num_rows),
        curriculum_episodes=program.curriculum_episodes,
        mesh=mesh,
    )
