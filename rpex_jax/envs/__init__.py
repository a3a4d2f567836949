"""Environments as pure functions: `make("Hopper-v4")`, then `reset` and `step`."""

import difflib
import functools
from collections.abc import Callable

from rpex_jax.envs import tasks
from rpex_jax.envs.base import Env, EnvState
from rpex_jax.envs.physics import Engine, host_engine
from rpex_jax.envs.tasks import TASKS
from rpex_jax.types import Spec

__all__ = ["TASKS", "Env", "EnvState", "make"]


@functools.lru_cache  # the same functions each time, so that nothing is traced twice
def make(name: str, engine: Callable[..., Engine] = host_engine) -> Env:
    """The environment with a Gymnasium id.

    Args:
      name: one of `TASKS`.
      engine: maker of the physics, `(model, frame_skip) -> Engine`.

    Raises:
      ValueError: no such environment; the message names the nearest.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"unknown environment {name!r}: {guess}known are {', '.join(TASKS)}"
        )
    task = TASKS[name]
    model = tasks.load_model(task)
    return Env(
        name=name,
        spec=Spec(observation_dim=model.nq - 1 + model.nv, action_dim=model.nu),
        reset=functools.partial(tasks.reset, task, model),
        step=functools.partial(tasks.step, task, model, engine(model, task.frame_skip)),
        time_limit=task.time_limit,
    )
