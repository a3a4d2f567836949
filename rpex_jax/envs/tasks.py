"""Tasks: a row each in a table, and the step that is common to all; all of it in JAX.

Each row agrees with `gymnasium.make(name)` step by step and uses Gymnasium's own model.
The mazes, which Gymnasium does not have, are in `antmaze`.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import mujoco

from rpex_jax.envs import bodies
from rpex_jax.envs.base import Env, EnvState, check_action
from rpex_jax.envs.physics import Engine, PhysicsState, Read, silence, zero_readings
from rpex_jax.types import Array, Key


def asset(name: str) -> str:
    """The path of one of Gymnasium's bodies."""
    folder = os.path.dirname(gymnasium.__file__)
    return os.path.join(folder, "envs/mujoco/assets", name)


def load_xml(name: str) -> mujoco.MjModel:
    """A body from Gymnasium's assets."""
    with silence():  # half_cheetah.xml has a deprecated attribute
        return mujoco.MjModel.from_xml_path(asset(name))


class Task(NamedTuple):
    """What tells a task from the others; the functions are explained in `bodies`."""

    xml: str  # in Gymnasium's assets
    frame_skip: int  # physics steps in a control step
    observe: Callable[..., Array]
    healthy: Callable[..., Array]
    pay: Callable[..., Array]
    read: Read | None = None  # what the functions need beyond qpos and qvel
    free_positions: int = 0  # leading entries of qpos that nothing depends on
    control_cost: float = 0.0  # times the squared norm of the control
    alive_bonus: float = 0.0  # for each step in a healthy state
    pays_on_fall: bool = False  # the bonus on the terminating step as well
    position_noise: float = 0.0  # at reset, half the width of a uniform
    velocity_noise: float = 0.0  # at reset, the same or a standard deviation
    normal_velocity: bool = False  # which of the two
    time_limit: int = 1000  # steps
    load: Callable[[str], mujoco.MjModel] = load_xml  # the body, from `xml`
    wrap: Callable[[Env], Env] = lambda env: env  # what no other field says


_HOPPER = Task(
    xml="hopper.xml",
    frame_skip=4,
    observe=partial(bodies.observe_runner, velocity_limit=10.0),
    healthy=bodies.healthy_hopper,
    pay=bodies.pay_runner,
    free_positions=1,
    control_cost=1e-3,
    alive_bonus=1.0,
    pays_on_fall=True,
    position_noise=5e-3,
    velocity_noise=5e-3,
)
_WALKER = _HOPPER._replace(xml="walker2d.xml", healthy=bodies.healthy_walker)
_HALF_CHEETAH = Task(
    xml="half_cheetah.xml",
    frame_skip=5,
    observe=bodies.observe_runner,
    healthy=bodies.always_healthy,
    pay=bodies.pay_runner,
    free_positions=1,
    control_cost=0.1,
    position_noise=0.1,
    velocity_noise=0.1,
    normal_velocity=True,
)
_ANT = Task(
    xml="ant.xml",
    frame_skip=5,
    observe=bodies.observe_ant,
    healthy=bodies.healthy_ant,
    pay=bodies.pay_ant,
    read=bodies.read_ant,
    free_positions=2,
    control_cost=0.5,
    alive_bonus=1.0,
    pays_on_fall=True,
    position_noise=0.1,
    velocity_noise=0.1,
    normal_velocity=True,
)
_PENDULUM = Task(
    xml="inverted_pendulum.xml",
    frame_skip=2,
    observe=bodies.observe_everything,
    healthy=bodies.healthy_pendulum,
    pay=bodies.pay_nothing,
    alive_bonus=1.0,
    pays_on_fall=True,
    position_noise=0.01,
    velocity_noise=0.01,
)
_DOUBLE_PENDULUM = Task(
    xml="inverted_double_pendulum.xml",
    frame_skip=5,
    observe=partial(bodies.observe_double_pendulum, forces=3),
    healthy=bodies.healthy_double_pendulum,
    pay=bodies.pay_double_pendulum,
    read=bodies.read_double_pendulum,
    alive_bonus=10.0,
    pays_on_fall=True,
    position_noise=0.1,
    velocity_noise=0.1,
    normal_velocity=True,
)

# Source: Gymnasium 1.4, gymnasium/envs/mujoco/*_v{4,5}.py.
TASKS: dict[str, Task] = {
    "Hopper-v4": _HOPPER,
    "Hopper-v5": _HOPPER._replace(pays_on_fall=False),
    "HalfCheetah-v4": _HALF_CHEETAH,
    "HalfCheetah-v5": _HALF_CHEETAH,  # v5 renamed entries of `info` only
    "Walker2d-v4": _WALKER,
    "Walker2d-v5": _WALKER._replace(xml="walker2d_v5.xml", pays_on_fall=False),
    "Ant-v4": _ANT,  # the first 27 of D4RL's 111 observations; the others are zero
    "Ant-v5": _ANT._replace(read=bodies.read_ant_contacts, pays_on_fall=False),
    "InvertedPendulum-v4": _PENDULUM,
    "InvertedPendulum-v5": _PENDULUM._replace(pays_on_fall=False),
    "InvertedDoublePendulum-v4": _DOUBLE_PENDULUM,
    "InvertedDoublePendulum-v5": _DOUBLE_PENDULUM._replace(
        observe=partial(bodies.observe_double_pendulum, forces=1), pays_on_fall=False
    ),
}


def load_model(task: Task) -> mujoco.MjModel:
    """The task's body."""
    return task.load(task.xml)


def reset(task: Task, model: mujoco.MjModel, key: Key) -> EnvState:
    """A new state near the model's initial one; runs no physics."""
    key_qpos, key_qvel = jax.random.split(key)
    draw = jax.random.normal if task.normal_velocity else _symmetric
    noise = task.position_noise * _symmetric(key_qpos, (model.nq,))
    qpos = jnp.asarray(model.qpos0, jnp.float32) + noise
    qvel = task.velocity_noise * draw(key_qvel, (model.nv,))
    readings = zero_readings(model, task.read)
    return EnvState(
        physics=PhysicsState(qpos, qvel, jnp.zeros(model.nv)),
        observation=task.observe(qpos, qvel, readings),
        reward=jnp.zeros(()),
        terminated=jnp.zeros((), bool),
        truncated=jnp.zeros((), bool),
        time=jnp.zeros((), jnp.int32),
        failed=jnp.zeros((), bool),
        readings=readings,
    )


def step(
    task: Task, model: mujoco.MjModel, engine: Engine, state: EnvState, action: Array
) -> EnvState:
    """One control step.

        reward = pay(...) - control_cost * |control|^2 + alive_bonus
        control = clip(action, -1, 1), scaled to the motors' range

    An action or physics that is not finite ends the episode: `failed` and `terminated`
    are set, the reward is 0 and the observation zeros.

    Args:
      task: the constants.
      model: the body.
      engine: what moves it.
      state: from `reset` or `step`.
      action: [action_dim]; [-1, 1] is the range of the motors, the rest is clipped away
        before anything is paid for, as D4RL's NormalizedBoxEnv does.
    """
    check_action(action, model.nu)
    action = jnp.where(jnp.isfinite(action), jnp.clip(action, -1.0, 1.0), jnp.nan)
    low, high = jnp.asarray(model.actuator_ctrlrange, jnp.float32).T
    control = (low + high) / 2 + (high - low) / 2 * action
    # Nothing depends on x (and y), so each step starts at x = 0: the new x is the
    # displacement itself. As a difference of float32 positions it would lose digits
    # with the distance run, and the reward divides it by a small dt.
    free = slice(task.free_positions)
    start = state.physics.qpos
    moved, readings = engine(
        state.physics._replace(qpos=start.at[free].set(0.0)), control
    )
    after = moved.qpos, moved.qvel, readings

    failed = ~jnp.isfinite(jnp.concatenate(jax.tree.leaves(after))).all()
    healthy = task.healthy(*after)
    bonus = jnp.where(healthy | task.pays_on_fall, task.alive_bonus, 0.0)
    dt = task.frame_skip * model.opt.timestep
    paid = task.pay(*after, state.readings, dt)
    reward = paid - task.control_cost * jnp.sum(control**2) + bonus
    return EnvState(
        physics=moved._replace(qpos=moved.qpos.at[free].add(start[free])),
        observation=jnp.where(failed, 0.0, task.observe(*after)),
        reward=jnp.where(failed, 0.0, reward),
        terminated=failed | ~healthy,
        truncated=jnp.zeros((), bool),
        time=state.time + 1,
        failed=failed,
        readings=readings,
    )


def _symmetric(key: Key, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
