"""Runs that train as one program, bound to their configs, data and environment."""

import itertools
from collections.abc import Callable, Collection, Hashable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from experiments import attack_sets, conditions, policy_sets, programs, run_configs
from experiments.programs import OfflineProgram, OnlineProgram, pretraining_key
from experiments.study import Run
from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.devices import share
from rpex_jax.envs import Env
from rpex_jax.methods import METHODS, online_agent
from rpex_jax.training.conditions import Attacked
from rpex_jax.training.offline import OfflineData, OfflineState
from rpex_jax.training.run import RunConfig


class Program(NamedTuple):
    """What is compiled, for any number of runs that the devices share evenly.

    Inputs and states have a run axis.
    """

    start: Callable[[Any], Any]  # inputs -> states
    chunk: Callable[[Any, Any], tuple[Any, dict]]  # takes its states over
    evaluate: Callable[[Any, Any], dict]  # name -> returns [runs, episodes]
    lower: Callable[[Any, Any], jax.stages.Lowered]  # of `chunk`


class Group(NamedTuple):
    """Runs of one program: their labels, what it takes of each, and its length."""

    name: str  # of its checkpoints and rows
    phase: str  # "offline" or "online"
    labels: list[dict]  # per run
    inputs: Any  # [runs, ...]
    program: Callable[[Mesh], Program]
    first_step: int  # before the first chunk
    chunk_steps: int
    num_chunks: int
    snapshots: frozenset[int] = frozenset()  # chunks after which agents are kept


class OnlineInputs(NamedTuple):
    """Of an online program, [runs, ...]."""

    runs: RunConfig
    pretrained: OfflineState
    frozen: Any  # the members of larger sets, or None
    attacked: Attacked  # what the runs are evaluated against


class Plan(NamedTuple):
    """What is trained together, by the names of groups; for a study or a part of it."""

    numbers: dict[Hashable, int]  # of all pretrainings of the study
    starting: dict[Hashable, list[Run]]  # by pretraining, of the part
    offline: dict[str, tuple[OfflineProgram, list[Hashable]]]
    online: dict[str, tuple[OnlineProgram, list[Run]]]  # but what only acts


def plan(runs: list[Run], chosen: Collection[Hashable] | None = None) -> Plan:
    """The groups of a study.

    Args:
      runs: the whole grid, which decides all names and numbers.
      chosen: the pretrainings that a part of the study has; None is all.
    """
    starting = programs.by_pretraining(runs)
    numbers = {key: number for number, key in enumerate(starting)}
    offline = sweep.group_by(
        starting, lambda key: programs.offline_program(starting[key][0])
    )
    learners = [run for run in runs if METHODS[run.labels["method"]].learns]
    online = sweep.group_by(learners, programs.online_program)
    chosen = set(starting if chosen is None else chosen)

    def named(phase, found, is_chosen):
        parts = (
            (f"{phase}-{number}", (program, list(filter(is_chosen, members))))
            for number, (program, members) in enumerate(found.items())
        )
        return {name: part for name, part in parts if part[1]}

    return Plan(
        numbers,
        {key: of_key for key, of_key in starting.items() if key in chosen},
        named("offline", offline, chosen.__contains__),
        named("online", online, lambda run: pretraining_key(run) in chosen),
    )


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

    def compiled(mesh: Mesh) -> Program:
        num_episodes = members[0].config.evaluation.episodes
        phase = programs.offline_phase(program, env, num_episodes, mesh)
        of_all = share(data, mesh)
        return Program(
            start=lambda runs: phase.start(runs, of_all),
            chunk=lambda state, runs: phase.chunk(state, runs, of_all),
            evaluate=lambda state, runs: {"returns": phase.evaluate(state, runs)},
            lower=lambda state, runs: phase.chunk.lower(state, runs, of_all),
        )

    labels = [
        run.pretraining | {"pretraining": number}
        for run, number in zip(members, numbers, strict=True)
    ]
    return Group(
        name=name,
        phase="offline",
        labels=labels,
        inputs=sweep.stack([run_configs.offline_run(run) for run in members]),
        program=compiled,
        first_step=0,
        chunk_steps=program.chunk,
        num_chunks=program.steps // program.chunk,
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
    agent = online_agent(program.method, AGENTS[program.base])

    def compiled(mesh: Mesh) -> Program:
        num_episodes = members[0].config.evaluation.episodes
        num_rows = len(data.transitions.rewards)
        phase = programs.online_phase(program, env, num_rows, num_episodes, mesh)
        evaluate = conditions.make_evaluate(agent, env, members, mesh)
        of_all = share(data, mesh)
        return Program(
            start=lambda of: phase.start(of.pretrained, of.runs, of_all, of.frozen),
            chunk=lambda state, of: phase.chunk(
                state, of.pretrained.statistics, of.runs, of_all
            ),
            evaluate=lambda state, of: evaluate(
                state.agent, of.pretrained.statistics, of.runs, state.step, of.attacked
            ),
            lower=lambda state, of: phase.chunk.lower(
                state, of.pretrained.statistics, of.runs, of_all
            ),
        )

    told = [
        attack_sets.online_run(run, out, env, number)
        for run, number in zip(members, numbers, strict=True)
    ]
    labels = [
        run.labels | {"pretraining": number}
        for run, number in zip(members, numbers, strict=True)
    ]
    return Group(
        name=name,
        phase="online",
        labels=labels,
        inputs=OnlineInputs(
            runs=sweep.stack(told),
            pretrained=pretrained,
            frozen=frozen,
            attacked=conditions.attacked(out, env, members, numbers, pretrained),
        ),
        program=compiled,
        first_step=program.warmup,
        chunk_steps=program.chunk,
        num_chunks=(program.steps - program.warmup) // program.chunk,
        snapshots=online_snapshots(members[0].config),
    )


def online_snapshots(config: ConfigDict) -> frozenset[int]:
    """The chunks online that end at the steps of `online.snapshots`, or just after.

    Source: arXiv 2510.13358, algorithm 1.
    """
    online = config.online
    return frozenset(
        max(1, -(-(step - online.warmup) // online.chunk))
        for step in online.snapshots
        if step <= online.steps
    )
