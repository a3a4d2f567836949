"""Updates per second of every agent, in turn with the peers that are the same agent.

An update is one of the critics; it draws its batch from rows in memory, here and in the
peers. Ours is the chunk of `sweep.offline_phase`, which also corrupts (here at rate 0)
and standardises. The yardstick is one large float32 matrix product.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.peer_process import Peers
from benchmarks.timing import best_times, count_for
from experiments.operations import flops_per_update
from rpex_jax import envs, results, sweep
from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.attacks.corruption import corruption
from rpex_jax.data.statistics import field_deviations
from rpex_jax.expansion import ExpansionConfig, policy_set
from rpex_jax.training import offline
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Agent, Transition

ENV = "HalfCheetah-v5"
PROBLEM = {  # of both sides
    "observation_dim": 17,
    "action_dim": 6,
    "hidden_dims": (256, 256),  # the default of every config but EDAC's
    "batch_size": 256,
    "rows": 10_000,
}
PEER_SECONDS = 1.0  # of one timing
CPU_UPDATES = 256  # of one timing of ours
MATMUL_SIZE = 2048


class Learner(NamedTuple):
    """An agent and the papers' config of it."""

    agent: Agent
    config: object


def _set_of(base: str) -> Learner:
    return Learner(policy_set(AGENTS[base]), ExpansionConfig(base=CONFIGS[base]()))


LEARNERS = {name: Learner(AGENTS[name], CONFIGS[name]()) for name in AGENTS} | {
    "pex": _set_of("iql"),
    "rpex": _set_of("riql"),
}


def sizes() -> list[int]:
    """Numbers of runs that are worth a program on this backend."""
    return [1, 16] if jax.default_backend() == "cpu" else [1, 16, 64, 256]


def measure(name: str, peers: Peers | None, seconds: float) -> list[dict]:
    """Rates of one agent: ours for each number of runs, and of its peers.

    Returns:
      Rows with `agent`, `who`, `runs`, `updates_per_s`, and where it is ours
      `gflop_per_update` and `share_of_matmul`.
    """
    timed = {("matmul", 1): (matmul(), 1)}
    for runs in sizes():
        timed["rpex_jax", runs] = training(LEARNERS[name], runs)
    for peer in peers.agents if peers else ():
        if peers.agents[peer] == name:
            update = functools.partial(peers.update, peer)
            count = count_for(update, PEER_SECONDS)
            timed[peer, 1] = (functools.partial(update, count), count)
    functions, counts = zip(*timed.values(), strict=True)
    times = best_times(functions, seconds)
    rates = [count / best for count, best in zip(counts, times, strict=True)]
    spec, batch_size = envs.make(ENV).spec, PROBLEM["batch_size"]
    flops = flops_per_update(*LEARNERS[name], spec, batch_size)
    peak = 2 * MATMUL_SIZE**3 * rates[0]
    rows = []
    for (who, runs), rate in zip(list(timed)[1:], rates[1:], strict=True):
        row = {"agent": name, "who": who, "runs": runs, "updates_per_s": rate}
        if who == "rpex_jax":
            share = rate * flops / peak
            row |= {"gflop_per_update": flops / 1e9, "share_of_matmul": share}
        rows.append(row)
    return rows


def training(learner: Learner, runs: int) -> tuple[Callable[[], object], int]:
    """A chunk of pretraining of so many runs, and the updates in it."""
    # On a CPU as many updates in all, whatever the runs: a shorter timing has better
    # luck on a noisy machine.
    num_updates = CPU_UPDATES // runs if jax.default_backend() == "cpu" else 256
    phase = sweep.offline_phase(
        learner.agent,
        envs.make(ENV),
        batch_size=PROBLEM["batch_size"],
        num_updates=num_updates,
        num_episodes=1,
    )
    clean, data = corruption(()), random_data()
    configs = sweep.stack(
        [RunConfig(seed, learner.config, clean, clean, 0) for seed in range(runs)]
    )
    states = phase.start(configs, data)

    def train():
        nonlocal states
        states, metrics = phase.chunk(states, configs, data)
        return states, metrics

    return train, num_updates * runs


@functools.cache
def random_data() -> offline.OfflineData:
    """The data set; the numbers do not matter for speed."""
    rows, width = PROBLEM["rows"], PROBLEM["observation_dim"]
    keys = jax.random.split(jax.random.key(0), 4)
    transitions = Transition(
        observations=jax.random.normal(keys[0], (rows, width)),
        actions=jax.random.uniform(keys[1], (rows, PROBLEM["action_dim"]), minval=-1),
        rewards=jax.random.normal(keys[2], (rows,)),
        next_observations=jax.random.normal(keys[3], (rows, width)),
        terminations=jnp.zeros(rows),
    )
    return offline.OfflineData(transitions, field_deviations(transitions))


@functools.cache
def matmul() -> Callable[[], jax.Array]:
    """The yardstick: one large float32 matrix product."""
    x = jax.random.normal(jax.random.key(0), (MATMUL_SIZE, MATMUL_SIZE))
    product = jax.jit(jnp.matmul)
    return lambda: product(x, x)


def tables(rows: list[dict]) -> str:
    """Ours by number of runs, and beside each peer, in Markdown."""
    ours = [row for row in rows if row["who"] == "rpex_jax"]
    text = results.markdown_table(
        ["agent", "runs", "updates/s", "GFLOP/update", "share of matmul rate"],
        [
            [
                row["agent"],
                f"{row['runs']}",
                f"{row['updates_per_s']:.0f}",
                f"{row['gflop_per_update']:.2f}",
                f"{row['share_of_matmul']:.0%}",
            ]
            for row in ours
        ],
    )
    alone = {row["agent"]: row["updates_per_s"] for row in ours if row["runs"] == 1}
    peers = [row for row in rows if row["who"] != "rpex_jax"]
    if not peers:
        return text
    beside = results.markdown_table(
        ["agent", "rpex_jax, 1 run", "peer", "its updates/s", "ratio"],
        [
            [
                row["agent"],
                f"{alone[row['agent']]:.0f}",
                row["who"],
                f"{row['updates_per_s']:.0f}",
                f"{alone[row['agent']] / row['updates_per_s']:.2f}",
            ]
            for row in peers
        ],
    )
    return f"{text}\n\n{beside}"
