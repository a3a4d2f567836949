"""Updates and environment steps per second, as shares of what the machine can do.

    python -m benchmarks.throughput --out=benchmarks/results/throughput

Updates are held against the machine's float32 matrix-product rate, environments against
`mujoco.rollout` alone with the same batch and threads. Timings on shared machines are
noisy: each rate is the best of several repeats, interleaved with its yardstick, and the
shares are what to quote.
"""

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco.rollout
import numpy as np
from absl import app, flags

from experiments.folders import provenance
from rpex_jax import envs, results
from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.envs import tasks
from rpex_jax.expansion import ExpansionConfig, policy_set
from rpex_jax.types import Spec, Transition

_OUT = flags.DEFINE_string("out", None, "Write OUT.json and OUT.md.")
_RUNS = flags.DEFINE_list("runs", ["1", "4", "16"], "Numbers of runs.")
_ENVS = flags.DEFINE_list("envs", ["1", "16", "64", "256"], "Numbers of environments.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Repeats of each timing.")
_AGENTS = flags.DEFINE_list("agents", ["iql", "riql", "sac", "rpex"], "What learns.")

SPEC = Spec(observation_dim=17, action_dim=6)  # HalfCheetah
BATCH_SIZE = 256
TASKS = ("Hopper-v4", "HalfCheetah-v4")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    agents = AGENTS | {"rpex": policy_set(AGENTS["riql"])}
    if unknown := set(_AGENTS.value) - agents.keys():
        raise app.UsageError(f"--agents has {unknown}; allowed are {', '.join(agents)}")
    updates = [
        update_rate(name, agents[name], int(runs))
        for name in _AGENTS.value
        for runs in _RUNS.value
    ]
    steps = [step_rate(name, int(count)) for name in TASKS for count in _ENVS.value]
    made_with = provenance("benchmarks.throughput")
    text = describe(made_with, updates, steps)
    print(text)
    if _OUT.value:
        out = Path(_OUT.value)
        out.parent.mkdir(parents=True, exist_ok=True)
        record = {"machine": made_with, "updates": updates, "steps": steps}
        results.write_atomically(out.with_suffix(".json"), json.dumps(record, indent=1))
        results.write_atomically(out.with_suffix(".md"), text)


def config_of(name: str):
    """The papers' config of an agent; `rpex` is the policy set over RIQL."""
    if name == "rpex":
        return ExpansionConfig(base=CONFIGS["riql"]())
    return CONFIGS[name]()


def update_rate(name: str, agent, runs: int) -> dict:
    """Updates per second of all runs together, and their share of the matmul rate."""
    config = jax.tree.map(lambda x: jnp.full(runs, x), config_of(name))
    keys = jax.random.split(jax.random.key(0), runs)
    states = jax.vmap(lambda key, config: agent.init(key, SPEC, config))(keys, config)
    batch = random_batch(jax.random.key(1), runs)

    def update(state, batch, config, step):
        return agent.update(jax.random.key(step), state, batch, config)[0]

    one_run = jax.tree.map(lambda x: x[0], (states, batch, config))
    flops = jax.jit(update).lower(*one_run, 0).compile().cost_analysis()["flops"]
    num_updates = max(48 // runs, 12)

    def chunk(state, batch, config):
        def body(state, step):
            return update(state, batch, config, step), None

        return jax.lax.scan(body, state, jnp.arange(num_updates))[0]

    chunk = jax.jit(jax.vmap(chunk), donate_argnums=0)  # as a sweep does

    def train():
        nonlocal states
        states = chunk(states, batch, config)
        return states

    seconds, product = best_times(train, matmul())
    rate = num_updates * runs / seconds
    peak = 2 * MATMUL_SIZE**3 / product
    return {
        "agent": name,
        "runs": runs,
        "updates_per_s": rate,
        "gflop_per_update": flops / 1e9,
        "matmul_gflop_per_s": peak / 1e9,
        "share_of_matmul": rate * flops / peak,
    }


def random_batch(key: jax.Array, runs: int) -> Transition:
    """[runs, BATCH_SIZE, ...]; the numbers do not matter for speed."""
    shape = (runs, BATCH_SIZE)
    keys = jax.random.split(key, 4)
    return Transition(
        observations=jax.random.normal(keys[0], (*shape, SPEC.observation_dim)),
        actions=jax.random.uniform(keys[1], (*shape, SPEC.action_dim), minval=-1),
        rewards=jax.random.normal(keys[2], shape),
        next_observations=jax.random.normal(keys[3], (*shape, SPEC.observation_dim)),
        terminations=jnp.zeros(shape),
    )


MATMUL_SIZE = 2048


@functools.cache
def matmul() -> Callable[[], jax.Array]:
    """The yardstick of updates: one large float32 matrix product."""
    x = jax.random.normal(jax.random.key(0), (MATMUL_SIZE, MATMUL_SIZE))
    product = jax.jit(jnp.matmul)
    return lambda: product(x, x)


def step_rate(name: str, count: int) -> dict:
    """Control steps per second of a compiled scan, and the share of MuJoCo alone."""
    env = envs.make(name)
    num_steps = max(2048 // count, 32)
    states = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), count))
    shape = (count, env.spec.action_dim)

    @jax.jit
    def ours(states):
        def body(carry, key):
            actions = jax.random.uniform(key, shape, minval=-1.0)
            return jax.vmap(env.step)(carry, actions), None

        keys = jax.random.split(jax.random.key(1), num_steps)
        return jax.lax.scan(body, states, keys)[0]

    raw = raw_rollout(name, count, num_steps)
    seconds, raw_seconds = best_times(lambda: ours(states), raw)
    return {
        "env": name,
        "envs": count,
        "steps_per_s": count * num_steps / seconds,
        "raw_steps_per_s": count * num_steps / raw_seconds,
        "share_of_raw": raw_seconds / seconds,
    }


def raw_rollout(name: str, count: int, num_steps: int) -> Callable[[], None]:
    """The yardstick of environments: one `mujoco.rollout` call a control step."""
    task = tasks.TASKS[name]
    model = tasks.load_model(task)
    threads = len(os.sched_getaffinity(0))
    pool = mujoco.rollout.Rollout(nthread=threads)
    data = [mujoco.MjData(model) for _ in range(threads)]
    start = np.zeros((count, 1 + model.nq + model.nv))
    start[:, 1 : 1 + model.nq] = model.qpos0
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (num_steps, count, 1, model.nu))
    controls = np.repeat(actions, task.frame_skip, axis=2)
    after = np.empty((count, task.frame_skip, start.shape[1]))

    def run():
        state = start
        for control in controls:
            pool.rollout([model] * count, data, state, control, state=after)
            state = after[:, -1].copy()

    return run


def best_times(*functions: Callable) -> list[float]:
    """Shortest seconds of each, over interleaved repeats after one warm-up."""
    for function in functions:
        jax.block_until_ready(function())
    times = np.empty((_REPEATS.value, len(functions)))
    for repeat in times:
        for i, function in enumerate(functions):
            start = time.perf_counter()
            jax.block_until_ready(function())
            repeat[i] = time.perf_counter() - start
    return times.min(axis=0).tolist()


def describe(made_with: dict, updates: list[dict], steps: list[dict]) -> str:
    """Both tables in Markdown, under what they were made with."""
    header = "".join(f"{key}: {value}  \n" for key, value in made_with.items())
    update_table = results.markdown_table(
        ["agent", "runs", "updates/s", "GFLOP/update", "share of matmul rate"],
        [
            [
                row["agent"],
                f"{row['runs']}",
                f"{row['updates_per_s']:.0f}",
                f"{row['gflop_per_update']:.2f}",
                f"{row['share_of_matmul']:.0%}",
            ]
            for row in updates
        ],
    )
    step_table = results.markdown_table(
        ["environment", "count", "steps/s", "MuJoCo alone", "share"],
        [
            [
                row["env"],
                f"{row['envs']}",
                f"{row['steps_per_s']:.0f}",
                f"{row['raw_steps_per_s']:.0f}",
                f"{row['share_of_raw']:.0%}",
            ]
            for row in steps
        ],
    )
    return f"{header}\n{update_table}\n\n{step_table}\n"


if __name__ == "__main__":
    app.run(main)
