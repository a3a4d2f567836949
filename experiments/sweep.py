"""Runs a study: pretraining, then every online method, many runs in each program.

    python -m experiments.sweep --config=experiments/configs/quickstart.py \
      --config.sweep.seed='(0, 1, 2)' --out=runs/quickstart [--resume]
"""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict
from tqdm import tqdm

from experiments import (
    attack_sets,
    conditions,
    data_attacks,
    folders,
    policy_sets,
    report,
    settings,
    study,
)
from experiments.command_line import (
    OUT,
    cache_compilations,
    fail,
    parse_flags,
    read_config,
)
from experiments.progress import progress_bar
from experiments.study import (
    OfflineProgram,
    OnlineProgram,
    Run,
    by_pretraining,
    pretraining_key,
)
from rpex_jax import checkpoints, results, sweep
from rpex_jax.agents import AGENTS
from rpex_jax.data import sources
from rpex_jax.data.attack_sets import AttackSetError
from rpex_jax.data.dataset import DatasetError
from rpex_jax.envs import Env
from rpex_jax.methods import METHODS, online_agent
from rpex_jax.training.offline import OfflineData, put_on_device

_RESUME = flags.DEFINE_bool("resume", False, "Go on from the folder's checkpoints.")


class Group(NamedTuple):
    """Runs that train as one program, bound to their configs and data."""

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


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    config = read_config()
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it writes
    study_name = Path(flags.FLAGS["config"].config_filename).stem
    out = Path(OUT.value or f"runs/{study_name}")
    try:
        run_study(config, out, resume=_RESUME.value)
    except (settings.ConfigError, DatasetError, AttackSetError) as error:
        fail(error)


def run_study(config: ConfigDict, out: Path, *, resume: bool) -> None:
    """Trains all runs of a study and leaves its results folder.

    Raises:
      ConfigError, DatasetError, AttackSetError: before anything is compiled.
    """
    runs = study.expand_grid(config)
    env = study.make_env(config)
    dataset = sources.load(
        config.data.source,
        action_range=tuple(config.data.action_range) or None,
        drop_observation_columns=tuple(config.data.drop_observation_columns),
    )
    study.check_widths(env, dataset, config.data.source)
    study.check_prefill(runs, len(dataset.transitions.rewards))
    unit = study.reward_unit(config, dataset)
    policy_sets.check(runs)
    attack_sets.check_given(env, runs)
    attacker = data_attacks.load_attacker(runs, env)
    folders.prepare(out, config, resume)
    if config.note:
        print(f"Note: {config.note}.")
    cache_compilations()
    data = put_on_device(dataset, unit)
    data = data_attacks.with_attacks(data, out, runs, attacker)

    # Methods that start from the same pretraining share it.
    starting = by_pretraining(runs)
    numbers = {key: number for number, key in enumerate(starting)}
    pretrained, trained_together = {}, {}
    groups = sweep.group_by(
        starting, lambda key: study.offline_program(starting[key][0])
    )
    total = sum(program.steps * len(keys) for program, keys in groups.items())
    with progress_bar("offline", total, "update") as bar:
        for number, (program, keys) in enumerate(groups.items()):
            group = offline_group(
                f"offline-{number}",
                program,
                [starting[key] for key in keys],
                [numbers[key] for key in keys],
                env,
                data,
            )
            trained_together[group.name] = keys
            states = train(group, out, env, config.evaluation.every, bar)
            pretrained |= {key: sweep.take(states, i) for i, key in enumerate(keys)}

    attack_sets.find(out, env, runs, numbers, pretrained)
    if len(config.evaluation.conditions) > 1:
        conditions.evaluate_pretrained(out, env, runs, numbers, pretrained)

    learners = [run for run in runs if METHODS[run.labels["method"]].learns]
    groups = sweep.group_by(learners, study.online_program)
    total = sum(program.steps * len(runs) for program, runs in groups.items())
    # A linear curriculum may wait for what the adaptive ones do.
    order = sorted(enumerate(groups.items()), key=lambda item: item[1][0].calibrated)
    with progress_bar("online", total, "step") as bar:
        for number, (program, of_program) in order:
            keys = [pretraining_key(run) for run in of_program]
            group = online_group(
                f"online-{number}",
                program,
                of_program,
                [numbers[key] for key in keys],
                sweep.stack([pretrained[key] for key in keys]),
                policy_sets.gather(out, of_program, runs, pretrained, trained_together),
                env,
                data,
                out,
            )
            train(group, out, env, config.evaluation.every, bar)
    print(report.write(out))


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


def train(group: Group, out: Path, env: Env, evaluate_every: int, bar: tqdm) -> Any:
    """Trains a group to its end, from its last checkpoint if it has one.

    Rows are written before the checkpoint that covers them, and rows beyond the
    checkpoint are dropped on the way in: a kill at any moment costs the chunk in
    flight, and no row is lost or doubled.
    """
    folder, rows_file = out / "checkpoints" / group.name, out / "chunks.jsonl"
    done = checkpoints.latest(folder) or 0
    results.keep_rows(
        rows_file, lambda row: row["group"] != group.name or row["chunk"] <= done
    )
    if done:
        state = checkpoints.restore(folder, done, jax.eval_shape(group.start))
    else:
        state = jax.block_until_ready(group.start())
    bar.update((group.first_step + done * group.chunk_steps) * len(group.labels))
    for chunk in range(done + 1, group.num_chunks + 1):
        started = time.perf_counter()
        state, metrics = jax.block_until_ready(group.chunk(state))
        trained = time.perf_counter()
        returns = {}
        if chunk % evaluate_every == 0 or chunk == group.num_chunks:
            returns = jax.tree.map(
                lambda x: np.asarray(x, np.float64), group.evaluate(state)
            )
            score = report.as_scores(env.name, returns["returns"]).mean()
            bar.set_postfix(score=f"{score:.1f}")
        wall = {
            "wall/chunk": trained - started,  # the first one compiles
            "wall/evaluation": time.perf_counter() - trained,
        }
        step = group.first_step + chunk * group.chunk_steps
        place = {"group": group.name, "phase": group.phase}
        place |= {"chunk": chunk, "step": step}
        results.append_rows(
            rows_file, tidy_rows(group.labels, place, metrics, returns, wall)
        )
        if chunk in group.snapshots:
            policy_sets.save_snapshot(out, group.name, chunk, state.agent.actor)
        checkpoints.save(folder, chunk, state)
        bar.update(group.chunk_steps * len(group.labels))
    return state


def tidy_rows(
    labels: list[dict],
    place: dict,
    metrics: dict[str, jax.Array],
    returns: dict[str, np.ndarray],
    wall: dict,
) -> list[dict]:
    """A row a run: labels, place, metrics [runs], returns [runs, episodes], seconds."""
    values = metrics | returns
    values = {name: np.asarray(of_runs).tolist() for name, of_runs in values.items()}
    return [
        label | place | {name: of_runs[i] for name, of_runs in values.items()} | wall
        for i, label in enumerate(labels)
    ]


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
