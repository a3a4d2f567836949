"""Trained policies, from the checkpoints of a sweep or of a collection."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from experiments import (
    folders,
    kinds,
    programs,
    run_configs,
    study,
    study_inputs,
    units,
)
from experiments.attack_sets import Target, target_of
from experiments.groups import Plan
from experiments.perturbations import pgd_settings
from experiments.policy_sets import SNAPSHOTS, repeated
from experiments.programs import pretraining_key
from experiments.settings import ConfigError
from experiments.study import Run
from rpex_jax import checkpoints, sweep
from rpex_jax.agents import AGENTS
from rpex_jax.attacks.perturbation import PGDSettings
from rpex_jax.data.buffer import make_buffer
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.envs import Env
from rpex_jax.methods import online_agent, start_agent
from rpex_jax.training import offline, online
from rpex_jax.training.offline import OfflineState
from rpex_jax.training.run import RunConfig, stream
from rpex_jax.types import Agent, Array


class Pretrained(NamedTuple):
    """The policies that runs started from and are attacked by; [runs, ...]."""

    agent: Agent
    states: Any  # of the agent
    configs: Any  # of the agent
    out: Path  # the folder of the collection, or of the study or unit with its attacks
    targets: list[Target]  # per run, of the study's attacks; a collection has none
    pgd: PGDSettings  # of the study; a collection has our choice


class Policies(NamedTuple):
    """Runs that one program trained, and all that it takes to act; [runs, ...]."""

    labels: list[dict]  # per run
    agent: Agent
    states: Any  # of the agent
    statistics: ObservationStatistics
    runs: RunConfig
    step: Array  # [runs]
    pretrained: Pretrained


def load(checkpoint: Path, key: str = "--checkpoint") -> tuple[Env, list[Policies]]:
    """The environment and the groups of runs of a checkpoint.

    Args:
      checkpoint: `OUT/checkpoints/GROUP/NUMBER`, `OUT/checkpoints/GROUP` for its last,
        or `OUT` for the last of every group, those of its units too; `OUT/units/UNIT`
        is a folder like `OUT`. Where it has `snapshots` in place of `checkpoints`, the
        agents that `online.snapshots` kept.
      key: what errors call it.

    Raises:
      ConfigError: there is no such checkpoint, or its config cannot be used.
      CheckpointError: it is damaged, or of something else.
    """
    checkpoint = checkpoint.absolute()
    out = folder_of(checkpoint)
    within = checkpoint.relative_to(out).parts
    kind = SNAPSHOTS if SNAPSHOTS in within else "checkpoints"
    groups = "online-*" if kind == SNAPSHOTS else "*"  # others are parts of sets
    found = out.glob(f"{kind}/{groups}/*"), out.glob(f"units/*/{kind}/{groups}/*")
    last: dict[Path, int] = {}
    for path in sorted(p for paths in found for p in paths if p.name.isdigit()):
        if path.relative_to(out).parts[: len(within)] == within:
            last[path.parent] = max(int(path.name), last.get(path.parent, 0))
    if not last:
        raise ConfigError(
            f"{key} is {checkpoint}, where none is complete; it must be the "
            "folder of a sweep or of a collection, or in it checkpoints/GROUP or "
            "checkpoints/GROUP/NUMBER"
        )
    config = folders.read(out)
    env = study_inputs.make_env(config)
    if "sweep" not in config:
        groups = [_load_collected(config, env, *group) for group in last.items()]
        return env, groups
    plans = dict(units.parts(out, study.expand_grid(config)))
    for folder in last:
        names = _groups(plans.get(folder.parents[1]))
        if folder.name not in names:
            raise ConfigError(
                f"{key} has {folder}, which is no group of the config beside it; those "
                f"are {', '.join(names)}"
            )
    return env, [
        _load_of_study(plans[folder.parents[1]], env, folder, number)
        for folder, number in last.items()
    ]


def folder_of(checkpoint: Path) -> Path:
    """The folder of the study or collection that a checkpoint is of, absolute.

    The checkpoint itself where there is none.
    """
    checkpoint = checkpoint.absolute()
    outs = (checkpoint, *checkpoint.parents[:5])
    return next((out for out in outs if (out / "config.json").is_file()), checkpoint)


def _groups(part: Plan | None) -> list[str]:
    """The names of all groups in a folder of a study."""
    return [] if part is None else [*part.offline, *part.online]


def _load_collected(
    config: ConfigDict, env: Env, folder: Path, number: int
) -> Policies:
    runs, agent = sweep.stack([kinds.sac_run(config)]), AGENTS["sac"]
    state = _restore_offline(agent, env, runs, folder, number)
    labels = [{"policy": folder.name, "seed": config.seed}]
    return _itself(labels, agent, state, runs, folder, [], PGDSettings())


def _load_of_study(part: Plan, env: Env, folder: Path, number: int) -> Policies:
    numbers = part.numbers
    if folder.name in part.offline:
        members = [part.starting[key][0] for key in part.offline[folder.name][1]]
        return _load_pretrained(members, env, folder, number, numbers)
    _, members = part.online[folder.name]
    keys = [pretraining_key(run) for run in members]
    pretrained = {}
    for name, (_, of_group) in part.offline.items():
        if set(of_group) & set(keys):
            source = folder.parents[1] / "checkpoints" / name
            last = checkpoints.latest(source)
            if last is None:
                raise ConfigError(
                    f"{source} has no checkpoint; {folder} started from its policies, "
                    "so that it must be there"
                )
            group = [part.starting[key][0] for key in of_group]
            loaded = _load_pretrained(group, env, source, last, numbers)
            states = OfflineState(loaded.states, loaded.statistics, loaded.step)
            pretrained |= {k: sweep.take(states, i) for i, k in enumerate(of_group)}
    states = sweep.stack([pretrained[key] for key in keys])
    return _load_online(members, env, folder, number, numbers, states)


def _load_pretrained(
    members: list[Run],
    env: Env,
    folder: Path,
    number: int,
    numbers: dict[Hashable, int],
) -> Policies:
    agent = AGENTS[programs.offline_program(members[0]).base]
    runs = sweep.stack([run_configs.offline_run(run) for run in members])
    state = _restore_offline(agent, env, runs, folder, number)
    labels = [run.pretraining for run in members]
    targets, pgd = _targets(members, numbers), pgd_settings(members[0].config)
    return _itself(labels, agent, state, runs, folder, targets, pgd)


def _load_online(
    members: list[Run],
    env: Env,
    folder: Path,
    number: int,
    numbers: dict[Hashable, int],
    states: OfflineState,
) -> Policies:
    program = programs.online_program(members[0])
    base = AGENTS[program.base]
    runs = sweep.stack([run_configs.online_run(run) for run in members])
    if runs.perturbation is not None:  # of the attack sets, the width is enough here
        widths = jnp.zeros((len(members), 1, env.spec.action_dim))
        runs = runs.replace(perturbation=runs.perturbation.replace(members=widths))

    num_rows = 0
    if program.method.balances:  # it has a priority for every row of the data
        dataset = study_inputs.load_dataset(members[0].config)
        num_rows = len(dataset.transitions.rewards)

    def start(pretrained, run):
        frozen = None
        if program.method.expands:
            frozen = repeated(pretrained.agent.actor, program.num_policies)
        state = start_agent(
            program.method,
            base,
            stream(run, "expansion"),
            env.spec,
            pretrained.agent,
            run.agent,
            members=frozen,
            online_policy=program.online_policy,
            critic_transfer=program.critic_transfer,
        )
        buffer = make_buffer(program.capacity, 1)
        return online.start(state, env, buffer, run, num_rows)

    like = jax.eval_shape(jax.vmap(start), states, runs)
    if folder.parent.name == SNAPSHOTS:
        agents = checkpoints.restore(folder, number, like.agent)
        step = program.warmup + number * program.chunk
        steps = jnp.full(len(members), step, jnp.int32)
    else:
        state = checkpoints.restore(folder, number, like)
        agents, steps = state.agent, state.step
    agent = online_agent(program.method, base)
    labels = [run.labels for run in members]
    configs = sweep.stack([run_configs.offline_run(run).agent for run in members])
    targets, pgd = _targets(members, numbers), pgd_settings(members[0].config)
    out = folder.parents[1]
    pretrained = Pretrained(base, states.agent, configs, out, targets, pgd)
    return Policies(labels, agent, agents, states.statistics, runs, steps, pretrained)


def _itself(
    labels: list[dict],
    agent: Agent,
    state: OfflineState,
    runs: RunConfig,
    folder: Path,
    targets: list[Target],
    pgd: PGDSettings,
) -> Policies:
    """Policies that started from nothing: attacks are made against themselves."""
    out = folder.parents[1]
    itself = Pretrained(agent, state.agent, runs.agent, out, targets, pgd)
    return Policies(
        labels, agent, state.agent, state.statistics, runs, state.step, itself
    )


def _targets(members: list[Run], numbers: dict[Hashable, int]) -> list[Target]:
    return [target_of(run, numbers) for run in members]


def _restore_offline(
    agent: Agent, env: Env, runs: RunConfig, folder: Path, number: int
) -> OfflineState:
    def start(run):
        state, _ = offline.from_scratch(env.spec)
        return state._replace(
            agent=agent.init(stream(run, "init"), env.spec, run.agent)
        )

    like = jax.eval_shape(jax.vmap(start), runs)
    return checkpoints.restore(folder, number, like)
