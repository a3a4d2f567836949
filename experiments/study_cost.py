"""What studies will take on this machine: time, from timed chunks, and memory.

A short chunk of the program with the most arithmetic is compiled and timed, one offline
and one online, with all its runs; other programs are taken to do as many operations a
second. Episodes of evaluations and of attacks count as of full length.
"""

import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import programs, run_configs, study, study_inputs, waves
from experiments.attack_sets import purposes, target_of
from experiments.groups import plan
from experiments.operations import flops_per_update
from experiments.policy_sets import repeated
from experiments.study import Run
from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.data.dataset import Dataset
from rpex_jax.devices import run_mesh, share, spread
from rpex_jax.envs import Env
from rpex_jax.methods import online_agent
from rpex_jax.training.offline import OfflineData, put_on_device
from rpex_jax.types import Spec, Transition

CHUNK = 40  # updates that are timed; online as many steps
ENVIRONMENTS = 64  # side by side, in the timing of evaluations


class Work(NamedTuple):
    """Of one program."""

    members: list[Run]
    flops: int  # of an update
    updates: int  # of all its runs


class Cost(NamedTuple):
    """Of a program that was timed."""

    seconds: float  # an update of one run; online with its share of a step
    num_bytes: int  # of its runs' state


def estimate(configs: Sequence[ConfigDict]) -> str:
    """A sentence: runs, programs, hours and bytes of all these studies, checked."""
    env = study_inputs.make_env(configs[0])
    data = random_data(env.spec)
    num_runs, num_programs, evaluated, seconds, num_bytes = 0, 0, 0, 0.0, 0
    for work_of, time_it in ((offline_work, offline_cost), (online_work, online_cost)):
        works = [work for config in configs for work in work_of(config, env.spec)]
        if not works:
            continue
        largest = max(works, key=lambda work: work.flops * len(work.members))
        cost = time_it(env, largest.members, data)
        all_flops = sum(work.flops * work.updates for work in works)
        seconds += all_flops * cost.seconds / largest.flops
        num_bytes = max(num_bytes, cost.num_bytes)
        num_programs += len(works)
    for config in configs:
        num_runs += len(study.expand_grid(config))
        evaluated += evaluation_steps(config, env)
    seconds += evaluated / steps_per_second(env)
    return (
        f"{num_runs} runs in {num_programs} programs: about {seconds / 3600:.1f} hours "
        "on this machine as it is now, compiling not counted, and "
        f"{num_bytes / 2**30:.2f} GiB for the state of a large program."
    )


def offline_work(config: ConfigDict, spec: Spec) -> list[Work]:
    """The pretraining programs of a study."""
    part = plan(study.expand_grid(config))
    works = []
    for program, keys in part.offline.values():
        members = [part.starting[key][0] for key in keys]
        agent, told = AGENTS[program.base], run_configs.offline_run(members[0]).agent
        flops = flops_per_update(agent, told, spec, program.batch_size)
        works.append(Work(members, flops, len(members) * program.steps))
    return works


def online_work(config: ConfigDict, spec: Spec) -> list[Work]:
    """The online programs of a study."""
    works = []
    for program, members in plan(study.expand_grid(config)).online.values():
        agent = online_agent(program.method, AGENTS[program.base])
        told = run_configs.online_run(members[0]).agent
        flops = flops_per_update(agent, told, spec, program.batch_size)
        updates = (program.steps - program.warmup) * program.updates_per_step
        works.append(Work(members, flops, len(members) * updates))
    return works


class Sample(NamedTuple):
    """A short program of some runs."""

    start: Callable[[], Any]
    chunk: Callable[[Any], tuple[Any, Any]]  # takes the state over; gives metrics too
    num_bytes: int  # of the states; to know them, nothing was compiled


def offline_sample(
    env: Env,
    members: list[Run],
    data: OfflineData,
    num_updates: int = CHUNK,
    num_devices: int | None = None,
) -> Sample:
    """Of pretraining these runs, on so many devices; None is as the study would."""
    program = programs.offline_program(members[0])._replace(chunk=num_updates)
    mesh = run_mesh(len(members), num_devices)
    phase = programs.offline_phase(program, env, num_episodes=1, mesh=mesh)
    runs = sweep.stack([run_configs.offline_run(run) for run in members])
    runs, data = spread(runs, mesh), share(data, mesh)

    def start():
        return phase.start(runs, data)

    def chunk(state):
        return phase.chunk(state, runs, data)

    return Sample(start, chunk, waves.num_bytes(jax.eval_shape(start)))


def online_sample(
    env: Env,
    members: list[Run],
    data: OfflineData,
    num_steps: int = CHUNK,
    num_devices: int | None = None,
) -> Sample:
    """Of the online phase of these runs, from agents that have learned nothing.

    A chunk has so many steps with their updates, after as many without. Devices are as
    in `offline_sample`.
    """
    program = programs.online_program(members[0])._replace(
        warmup=num_steps, chunk=num_steps, prefill=0.0, curriculum_episodes=0
    )
    mesh = run_mesh(len(members), num_devices)
    phase = programs.online_phase(program, env, num_rows=0, num_episodes=1, mesh=mesh)
    runs = sweep.stack([run_configs.online_run(run) for run in members])
    runs, data = spread(runs, mesh), share(data, mesh)
    pretrain = offline_sample(env, members, data, num_devices=num_devices).start
    pretrained = cache(pretrain)

    def start_from(states):
        frozen = None
        if program.method.expands:
            of_run = partial(repeated, num_policies=program.num_policies)
            frozen = jax.vmap(of_run)(states.agent.actor)
        return phase.start(states, runs, data, frozen)

    def start():
        return start_from(pretrained())

    def chunk(state):
        return phase.chunk(state, pretrained().statistics, runs, data)

    shapes = jax.eval_shape(lambda: start_from(pretrain()))
    return Sample(start, chunk, waves.num_bytes(shapes))


def offline_cost(env: Env, members: list[Run], data: OfflineData) -> Cost:
    """Of pretraining these runs."""
    return _timed(offline_sample(env, members, data), len(members))


def online_cost(env: Env, members: list[Run], data: OfflineData) -> Cost:
    """Of the online phase of these runs."""
    cost = _timed(online_sample(env, members, data), len(members))
    updates = programs.online_program(members[0]).updates_per_step
    return cost._replace(seconds=cost.seconds / updates)


def evaluation_steps(config: ConfigDict, env: Env) -> int:
    """Environment steps of all evaluations and attacks, if no episode ends early."""
    runs = study.expand_grid(config)
    part, of_study, attack = plan(runs), config.evaluation, config.attack

    def evaluations(num_chunks: int) -> int:  # the last chunk always has one
        return -(-num_chunks // of_study.every) * of_study.episodes

    episodes = 0
    for program, keys in part.offline.values():
        episodes += len(keys) * evaluations(program.steps // program.chunk)
    targets = {target_of(run, part.numbers) for run in runs}
    num_conditions = len(of_study.conditions)
    if num_conditions > 1:  # of the pretrained policies
        episodes += len(targets) * num_conditions * of_study.episodes
    searched = {
        (target_of(run, part.numbers), purpose)
        for run in runs
        for purpose in purposes(run)
    }
    of_search = attack.population_size * (attack.generations + 1) * attack.episodes
    episodes += len(searched) * attack.searches * of_search
    for program, members in part.online.values():
        num_chunks = (program.steps - program.warmup) // program.chunk
        of_run = num_conditions * evaluations(num_chunks)
        if members[0].config.perturbation.kind != "none":
            of_run += (num_chunks + 1) * program.curriculum_episodes
        episodes += len(members) * of_run
    return episodes * (env.time_limit or 1000)


def steps_per_second(env: Env) -> float:
    """Of many environments side by side."""
    num_steps = 32
    run = random_steps(env, ENVIRONMENTS, num_steps)
    return ENVIRONMENTS * num_steps / _seconds(run)


def random_steps(env: Env, count: int, num_steps: int) -> Callable[[], object]:
    """So many steps of so many environments, as one compiled program."""
    states = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), count))
    shape = (count, env.spec.action_dim)

    def run(states):
        def body(carry, key):
            actions = jax.random.uniform(key, shape, minval=-1.0)
            return jax.vmap(env.step)(carry, actions), None

        keys = jax.random.split(jax.random.key(1), num_steps)
        return jax.lax.scan(body, states, keys)[0]

    compiled = jax.jit(run).lower(states).compile()
    return lambda: compiled(states)


def random_data(spec: Spec) -> OfflineData:
    """Rows of these widths; the numbers do not matter for speed."""
    rng, rows = np.random.default_rng(0), 10_000
    wide = rng.normal(size=(2, rows, spec.observation_dim)).astype(np.float32)
    actions = rng.uniform(-1, 1, (rows, spec.action_dim)).astype(np.float32)
    flat = np.zeros(rows, np.float32)
    transitions = Transition(wide[0], actions, flat, wide[1], flat)
    return put_on_device(Dataset(transitions, np.zeros(rows, bool)))


def _timed(sample: Sample, num_runs: int) -> Cost:
    state = sample.start()

    def run():
        nonlocal state
        state, _ = sample.chunk(state)
        return state

    return Cost(_seconds(run) / (CHUNK * num_runs), sample.num_bytes)


def _seconds(function: Callable[[], Any]) -> float:
    """Of a second execution; the first may compile."""
    jax.block_until_ready(function())
    begin = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - begin
