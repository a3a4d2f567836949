"""Runs that train as one program, bound to their configs, data and environment."""

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments import attack_sets, conditions, policy_sets, study
from experiments.study import OfflineProgram, OnlineProgram, Run
from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.envs import Env
from rpex_jax.methods import METHODS, online_agent
from rpex_jax.training.offline import OfflineData


class Group(NamedTuple):
    """One such program: its runs' labels, its length and its three functions."""

    name: str  # of its checkpoints and rows
    phase: str  # "offline" or "online"
    labels: list[dict]  # per run
    first_step: int  # before the first chunk
    chunk_steps: int
    num_chunks: int
    start: Callable[[], Any]
    chunk: Callable[[Any], tuple[Any, dict]]
    evaluate: Callable[[Any], dict]  # name -> returns [runs, episodes]
    snapshots: frozenset[int] = frozenset()  # chunks after which policies are kept


def offline_programs(
    starting: Mapping[Hashable, list[Run]],
) -> dict[OfflineProgram, list[Hashable]]:
    """Pretrainings by program, in the order of their groups' numbers.

    Args:
      starting: the runs that start from each, as of `study.by_pretraining`.
    """
    return sweep.group_by(starting, lambda key: study.offline_program(starting[key][0]))


def online_programs(runs: Iterable[Run]) -> dict[OnlineProgram, list[Run]]:
    """The runs that learn online, by program, in the order of their groups' numbers."""
    learners = [run for run in runs if METHODS[run.labels["method"]].learns]
    return sweep.group_by(learners, study.online_program)


def offline_group(
    name: str,
    program: OfflineProgram,
    starting: list[list[Run]],
    numbers: list[int],
    env: Env,
    data: OfflineData,
) -> Group:
    """The pretrainings of one program; `starting` are the runs that start from each."""
    members = [from_it[0] for from_it in starting]
    phase = sweep.offline_phase(
        AGENTS[program.base],
        env,
        batch_size=program.batch_size,
        num_updates=program.chunk,
        num_episodes=members[0].config.evaluation.episodes,
    )
    runs = sweep.stack([study.offline_run(run) for run in members])
    labels = [
        {name: run.labels[name] for name in ("base", "corruption", "seed")}
        | {"pretraining": number}
        for run, number in zip(members, numbers, strict=True)
    ]
    return Group(
        name=name,
        phase="offline",
        labels=labels,
        first_step=0,
        chunk_steps=program.chunk,
        num_chunks=program.steps // program.chunk,
        start=lambda: phase.start(runs, data),
        chunk=lambda state: phase.chunk(state, runs, data),
        evaluate=lambda state: {"returns": phase.evaluate(state, runs)},
        snapshots=policy_sets.snapshot_chunks(itertools.chain(*starting)),
    )


def online_group(
    name: str,
    program: OnlineProgram,
    members: list[Run],
    numbers: list[int],
    pretrained: Any,
    frozen: Any,
    env: Env,
    data: OfflineData,
    out: Path,
) -> Group:
    """The online runs of one program.

    `pretrained` has their run axis, and so has `frozen`, the members of larger sets.
    """
    prefill = round(program.prefill * len(data.transitions.rewards))
    phase = sweep.online_phase(
        AGENTS[program.base],
        program.method,
        env,
        batch_size=program.batch_size,
        num_offline=program.num_offline,
        capacity=program.capacity,
        warmup=program.warmup,
        num_steps=program.chunk,
        updates_per_step=program.updates_per_step,
        num_episodes=members[0].config.evaluation.episodes,
        online_policy=program.online_policy,
        critic_transfer=program.critic_transfer,
        warmup_actions=program.warmup_actions,
        prefill=prefill,
        curriculum_episodes=program.curriculum_episodes,
    )
    runs = sweep.stack(
        [
            attack_sets.online_run(run, out, env, number)
            for run, number in zip(members, numbers, strict=True)
        ]
    )
    evaluate = conditions.make_evaluate(
        online_agent(program.method, AGENTS[program.base]), env, members
    )
    attacked = conditions.attacked(out, env, members, numbers, pretrained)
    labels = [
        run.labels | {"pretraining": number}
        for run, number in zip(members, numbers, strict=True)
    ]
    statistics = pretrained.statistics
    return Group(
        name=name,
        phase="online",
        labels=labels,
        first_step=program.warmup,
        chunk_steps=program.chunk,
        num_chunks=(program.steps - program.warmup) // program.chunk,
        start=lambda: phase.start(pretrained, runs, data, frozen),
        chunk=lambda state: phase.chunk(state, statistics, runs, data),
        evaluate=lambda state: evaluate(
            state.agent, statistics, runs, state.step, attacked
        ),
    )
