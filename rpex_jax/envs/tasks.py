"""Tasks: what is observed, paid and ended, as a table; all of it in JAX.

Each row agrees with `gymnasium.make(name)` step by step and uses Gymnasium's own model.
"""

import os
from typing import NamedTuple

import chex
import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from rpex_jax.envs.base import EnvState
from rpex_jax.envs.physics import Engine, PhysicsState, silence
from rpex_jax.types import Array, Key

ANY = (-np.inf, np.inf)


class Task(NamedTuple):
    """The constants of a planar runner; qpos is (x, height, pitch, joints...)."""

    xml: str  # in Gymnasium's assets
    frame_skip: int  # physics steps in a control step
    control_cost: float  # times the squared norm of the action
    alive_bonus: float = 0.0  # for each step in a healthy state
    pays_on_fall: bool = False  # the bonus on the terminating step as well
    healthy_height: tuple[float, float] = ANY  # m; open intervals
    healthy_pitch: tuple[float, float] = ANY  # rad
    healthy_state: tuple[float, float] = ANY  # each of qpos and qvel from pitch on
    observed_velocity: float = np.inf  # limit of the velocities observed
    position_noise: float = 0.0  # at reset, half the width of a uniform
    velocity_noise: float = 0.0  # at reset, the same or a standard deviation
    normal_velocity: bool = False  # which of the two
    time_limit: int = 1000  # steps


_HOPPER = Task(
    xml="hopper.xml",
    frame_skip=4,
    control_cost=1e-3,
    alive_bonus=1.0,
    pays_on_fall=True,
    healthy_height=(0.7, np.inf),
    healthy_pitch=(-0.2, 0.2),
    healthy_state=(-100.0, 100.0),
    observed_velocity=10.0,
    position_noise=5e-3,
    velocity_noise=5e-3,
)
_HALF_CHEETAH = Task(
    xml="half_cheetah.xml",
    frame_skip=5,
    control_cost=0.1,
    position_noise=0.1,
    velocity_noise=0.1,
    normal_velocity=True,
)

# Source: Gymnasium 1.4, gymnasium/envs/mujoco/{hopper,half_cheetah}_v{4,5}.py.
TASKS: dict[str, Task] = {
    "Hopper-v4": _HOPPER,
    "Hopper-v5": _HOPPER._replace(pays_on_fall=False),
    "HalfCheetah-v4": _HALF_CHEETAH,
    "HalfCheetah-v5": _HALF_CHEETAH,  # v5 renamed entries of `info` only
}


def load_model(task: Task) -> mujoco.MjModel:
    """The task's body, from Gymnasium's assets."""
    folder = os.path.join(os.path.dirname(gymnasium.__file__), "envs/mujoco/assets")
    with silence():  # half_cheetah.xml has a deprecated attribute
        return mujoco.MjModel.from_xml_path(os.path.join(folder, task.xml))


def reset(task: Task, model: mujoco.MjModel, key: Key) -> EnvState:
    """A new state near the model's initial one; runs no physics."""
    key_qpos, key_qvel = jax.random.split(key)
    draw = jax.random.normal if task.normal_velocity else _symmetric
    noise = task.position_noise * _symmetric(key_qpos, (model.nq,))
    qpos = jnp.asarray(model.qpos0, jnp.float32) + noise
    qvel = task.velocity_noise * draw(key_qvel, (model.nv,))
    return EnvState(
        physics=PhysicsState(qpos, qvel, jnp.zeros(model.nv)),
        observation=_observe(task, qpos, qvel),
        reward=jnp.zeros(()),
        terminated=jnp.zeros((), bool),
        truncated=jnp.zeros((), bool),
        time=jnp.zeros((), jnp.int32),
        failed=jnp.zeros((), bool),
    )


def step(
    task: Task, model: mujoco.MjModel, engine: Engine, state: EnvState, action: Array
) -> EnvState:
    """One control step.

        reward = dx / dt - control_cost * |a|^2 + alive_bonus,  a = clip(action, -1, 1)

    An action or physics that is not finite ends the episode: `failed` and `terminated`
    are set, the reward is 0 and the observation zeros.

    Args:
      task: the constants.
      model: the body.
      engine: what moves it.
      state: from `reset` or `step`.
      action: [action_dim]; [-1, 1] is what the motors take, the rest is clipped away
        before anything is paid for, as D4RL's NormalizedBoxEnv does.
    """
    chex.assert_shape(action, (model.nu,))
    physics = state.physics
    action = jnp.where(jnp.isfinite(action), jnp.clip(action, -1.0, 1.0), jnp.nan)
    # Nothing depends on x, so each step starts at x = 0: the new x is the displacement
    # itself. As a difference of float32 positions it would lose digits with the
    # distance run, and the reward divides it by a small dt.
    moved = engine(physics._replace(qpos=physics.qpos.at[0].set(0.0)), action)
    displacement = moved.qpos[0]
    qpos, qvel = moved.qpos.at[0].add(physics.qpos[0]), moved.qvel

    failed = ~(jnp.isfinite(qpos).all() & jnp.isfinite(qvel).all())
    healthy = (
        _inside(qpos[1], task.healthy_height)
        & _inside(qpos[2], task.healthy_pitch)
        & _inside(jnp.concatenate([qpos[2:], qvel]), task.healthy_state).all()
    )
    dt = task.frame_skip * model.opt.timestep
    bonus = jnp.where(healthy | task.pays_on_fall, task.alive_bonus, 0.0)
    reward = displacement / dt - task.control_cost * jnp.sum(action**2) + bonus
    return EnvState(
        physics=moved._replace(qpos=qpos),
        observation=jnp.where(failed, 0.0, _observe(task, qpos, qvel)),
        reward=jnp.where(failed, 0.0, reward),
        terminated=failed | ~healthy,
        truncated=jnp.zeros((), bool),
        time=state.time + 1,
        failed=failed,
    )


def _observe(task: Task, qpos: Array, qvel: Array) -> Array:
    """All but x, [nq - 1 + nv]."""
    limit = task.observed_velocity
    return jnp.concatenate([qpos[1:], jnp.clip(qvel, -limit, limit)])


def _inside(values: Array, interval: tuple[float, float]) -> Array:
    return (interval[0] < values) & (values < interval[1])


def _symmetric(key: Key, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
