"""Films of trained policies: which run, whether it can be, and the episode itself."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.policies import Policies
from experiments.settings import ConfigError
from rpex_jax import sweep
from rpex_jax.attacks.perturbation import Fault, perturbed, with_fault
from rpex_jax.envs import TASKS, Env, rendering, tasks
from rpex_jax.training.evaluation import greedy
from rpex_jax.training.run import stream
from rpex_jax.types import Array


def nth_run(groups: list[Policies], number: int) -> tuple[Policies, int]:
    """The group of a run, counted over all groups, and its place there.

    Raises:
      ConfigError: there are not so many.
    """
    places = [(group, run) for group in groups for run in range(len(group.labels))]
    if number >= len(places):
        raise ConfigError(f"--run is {number}; there are {len(places)}, from 0")
    return places[number]


def check_video(env: Env, path: Path) -> None:
    """Says what is wrong if a film could not be made in the end.

    Raises:
      ConfigError: no body to film, or no place for the file.
      RenderingError: nothing can be drawn here.
    """
    if env.name not in TASKS:
        raise ConfigError(
            f"--video needs one of {', '.join(TASKS)}; {env.name} moves elsewhere"
        )
    if path.suffix != ".mp4" or not path.absolute().parent.is_dir():
        raise ConfigError(
            f"--video is {path}; it must end in .mp4, in a folder there is"
        )
    rendering.find_backend()


def film(env: Env, group: Policies, run: int, deltas: dict[Path, np.ndarray]) -> None:
    """Films the same episode under each perturbation, one file each.

    Args:
      env: one of `TASKS`.
      group: of the run.
      run: its place there.
      deltas: file -> [action_dim]; zeros leave the actions as they are meant.
    """
    model = tasks.load_model(TASKS[env.name])
    seconds = TASKS[env.name].frame_skip * model.opt.timestep
    walk = jax.jit(lambda delta: episode(env, group, run, delta))
    for path, delta in deltas.items():
        positions, ended = walk(delta)
        length = int(np.argmax(ended)) + 1
        rendering.write_video(path, model, np.asarray(positions)[:length], seconds)


def episode(env: Env, group: Policies, run: int, delta: Array) -> tuple[Array, Array]:
    """Positions of an episode, [time_limit, nq], and where it ends, [time_limit]."""
    state, statistics, config, step = sweep.take(
        (group.states, group.statistics, group.runs, group.step), run
    )
    key = jax.random.fold_in(stream(config, "evaluation"), step)
    key_reset, key_act = jax.random.split(key)
    act = greedy(group.agent, state, statistics, config.agent, key_act)
    world = perturbed(env)

    def one_step(env_state, time):
        env_state = world.step(env_state, act(time, env_state.observation))
        ended = env_state.terminated | env_state.truncated
        moved = env_state.physics.physics.qpos
        return env_state, (moved, ended | (time == env.time_limit - 1))

    start = with_fault(env.reset(key_reset), Fault(jnp.ones(()), delta))
    return jax.lax.scan(one_step, start, jnp.arange(env.time_limit))[1]
