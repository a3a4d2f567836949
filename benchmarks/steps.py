"""Environment steps per second of both engines, in a compiled scan of random actions.

The yardstick of the host engine is `mujoco.rollout` alone with the same batch and
threads.
"""

import time
from collections.abc import Callable

import jax
import mujoco.rollout
import numpy as np

from benchmarks.timing import best_times
from experiments.study_cost import random_steps
from rpex_jax import envs, results
from rpex_jax.devices import num_cores
from rpex_jax.envs import tasks

NAMES = ("Hopper-v5", "HalfCheetah-v5")
COUNTS = {"mujoco": (1, 16, 64, 256), "mjx": (1, 64, 1024, 8192)}


def measure(name: str, engine: str, count: int, seconds: float) -> dict:
    """Control steps per second of all environments together.

    Returns:
      A row with `env`, `engine`, `envs`, `steps_per_s`, `compile_s`, and for the host
      engine `raw_steps_per_s` and `share_of_raw`.
    """
    num_steps = steps_in_scan(engine, count)
    start = time.perf_counter()
    functions = [random_steps(envs.make(name, engine), count, num_steps)]
    compile_seconds = time.perf_counter() - start
    if engine == "mujoco":
        functions.append(raw_rollout(name, count, num_steps))
    best, *raw = best_times(functions, seconds)
    row = {
        "env": name,
        "engine": engine,
        "envs": count,
        "steps_per_s": count * num_steps / best,
        "compile_s": compile_seconds,
    }
    if raw:
        row["raw_steps_per_s"] = count * num_steps / raw[0]
        row["share_of_raw"] = raw[0] / best
    return row


def steps_in_scan(engine: str, count: int) -> int:
    """Control steps in one timing: fewer where MJX has only a CPU."""
    if engine == "mjx" and jax.default_backend() == "cpu":
        return max(128 // count, 4)
    return max(2048 // count, 32)


def raw_rollout(name: str, count: int, num_steps: int) -> Callable[[], None]:
    """One `mujoco.rollout` call a control step."""
    task = tasks.TASKS[name]
    model = tasks.load_model(task)
    threads = num_cores()
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


def table(rows: list[dict]) -> str:
    """All rates in Markdown."""
    return results.markdown_table(
        [
            "environment",
            "engine",
            "count",
            "steps/s",
            "compile",
            "share of MuJoCo alone",
        ],
        [
            [
                row["env"],
                row["engine"],
                f"{row['envs']}",
                f"{row['steps_per_s']:.0f}",
                f"{row['compile_s']:.0f} s",
                f"{row['share_of_raw']:.0%}" if "share_of_raw" in row else "",
            ]
            for row in rows
        ],
    )
