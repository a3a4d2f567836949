"""Environments as pure functions: `make("Hopper-v4")`, then `reset` and `step`."""

import difflib
import functools
from collections.abc import Callable

import gymnasium
import jax
import mujoco

from rpex_jax.envs import antmaze, tasks
from rpex_jax.envs.base import Env, EnvState
from rpex_jax.envs.mjx import mjx_engine, warp_engine
from rpex_jax.envs.physics import Engine, Read, host_engine
from rpex_jax.envs.tasks import Task
from rpex_jax.types import Spec

__all__ = ["ENGINES", "TASKS", "Env", "EnvState", "make"]

TASKS: dict[str, Task] = tasks.TASKS | antmaze.TASKS

EngineMaker = Callable[..., Engine]  # (model, frame_skip, read) -> Engine

ENGINES: dict[str, EngineMaker] = {
    "mujoco": host_engine,
    "mjx": mjx_engine,
    "warp": warp_engine,
}


def make(name: str, engine: str | EngineMaker | None = None) -> Env:
    """The environment with an id of Gymnasium's or, of a maze, of D4RL's.

    Args:
      name: one of `TASKS`, or anything else that `gymnasium.make` knows, also
        `"module:Name-v0"`, which then runs on the host as it is.
      engine: what moves a task: one of `ENGINES` or a maker like those, or `gymnasium`
        to run Gymnasium's own. None is, for `TASKS`, `mujoco` where JAX's default
        device is a CPU and `mjx` elsewhere.

    Returns:
      The environment. For the same task and engine it has the same functions each time,
      so that nothing is traced twice.

    Raises:
      ValueError: no such environment or engine, or an engine that cannot do the task.
      ImportError: the engine needs a package that is not installed.
    """
    if name not in TASKS and name not in gymnasium.registry and ":" not in name:
        near = difflib.get_close_matches(name, TASKS.keys() | gymnasium.registry.keys())
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"unknown environment {name!r}: {guess}known are {', '.join(TASKS)} and "
            "all that Gymnasium has registered"
        )
    if isinstance(engine, str) and engine not in (*ENGINES, "gymnasium"):
        raise ValueError(
            f"unknown engine {engine!r}: allowed are {', '.join(ENGINES)}, gymnasium"
        )
    if engine == "gymnasium" or (engine is None and name not in TASKS):
        from rpex_jax.envs.bridge import from_gymnasium

        return from_gymnasium(name)
    if name not in TASKS:
        raise ValueError(
            f"{name} runs with engine 'gymnasium' only; {engine!r} is for "
            f"{', '.join(TASKS)}"
        )
    if engine is None:
        engine = "mujoco" if jax.default_backend() == "cpu" else "mjx"
    try:
        return _make(name, ENGINES.get(engine, engine))
    except ValueError as error:
        raise ValueError(f"{name} with engine {engine!r}: {error}") from error


@functools.lru_cache
def _make(name: str, engine: EngineMaker) -> Env:
    task = TASKS[name]
    model = tasks.load_model(task)
    move = _move(engine, task.load, task.xml, task.frame_skip, task.read)
    reset = functools.partial(tasks.reset, task, model)
    first = jax.eval_shape(reset, jax.eval_shape(jax.random.key, 0))
    env = Env(
        name=name,
        spec=Spec(observation_dim=first.observation.size, action_dim=model.nu),
        reset=reset,
        step=functools.partial(tasks.step, task, model, move),
        time_limit=task.time_limit,
    )
    return task.wrap(env)


@functools.lru_cache  # versions of a task that move alike share one engine's trace
def _move(
    engine: EngineMaker,
    load: Callable[[str], mujoco.MjModel],
    xml: str,
    frame_skip: int,
    read: Read | None,
) -> Engine:
    return engine(load(xml), frame_skip, read)
