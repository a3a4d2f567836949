"""What each body observes, what it is paid for and when it is healthy, in JAX.

All functions take qpos and qvel after a control step, with the positions that nothing
depends on counted from where the step began, and the physics engine's readings:

    observe(qpos, qvel, readings) -> observation
    healthy(qpos, qvel, readings) -> bool
    pay(qpos, qvel, readings, before, dt) -> reward beside control cost and alive bonus

`before` are the readings of the step before, zeros after a reset; dt is in seconds.
`read_*` pick readings from MuJoCo's data, C or MJX.

Source: Gymnasium 1.4, gymnasium/envs/mujoco/*_v{4,5}.py.
"""

from typing import Any

import jax.numpy as jnp

from rpex_jax.envs.physics import Readings
from rpex_jax.types import Array

# Any body.


def observe_everything(qpos: Array, qvel: Array, readings: Readings) -> Array:
    """All positions and velocities."""
    return jnp.concatenate([qpos, qvel])


def always_healthy(qpos: Array, qvel: Array, readings: Readings) -> Array:
    """True."""
    return jnp.ones((), bool)


def pay_nothing(
    qpos: Array, qvel: Array, readings: Readings, before: Readings, dt: float
) -> Array:
    """0."""
    return jnp.zeros(())


# Planar runners; qpos is (x, height, pitch, joints...).


def observe_runner(
    qpos: Array, qvel: Array, readings: Readings, *, velocity_limit: float = jnp.inf
) -> Array:
    """All but x, velocities clipped."""
    return jnp.concatenate([qpos[1:], jnp.clip(qvel, -velocity_limit, velocity_limit)])


def pay_runner(
    qpos: Array, qvel: Array, readings: Readings, before: Readings, dt: float
) -> Array:
    """Speed, dx / dt."""
    return qpos[0] / dt


def healthy_hopper(qpos: Array, qvel: Array, readings: Readings) -> Array:
    """Height above 0.7 m, pitch within 0.2 rad, the rest within 100."""
    rest = jnp.concatenate([qpos[2:], qvel])
    return (qpos[1] > 0.7) & (jnp.abs(qpos[2]) < 0.2) & (jnp.abs(rest) < 100).all()


def healthy_walker(qpos: Array, qvel: Array, readings: Readings) -> Array:
    """Height between 0.8 and 2 m, pitch within 1 rad."""
    return (qpos[1] > 0.8) & (qpos[1] < 2.0) & (jnp.abs(qpos[2]) < 1.0)


# Ant; qpos is (x, y, height, quaternion, joints...).


def read_ant(data: Any) -> tuple[Any, ...]:
    """How far the torso's `xpos`, by which Gymnasium pays, lags behind qpos; [1]."""
    return (data.xpos[1, :1] - data.qpos[:1],)


def read_ant_contacts(data: Any) -> tuple[Any, ...]:
    """The lag, and the external torque and force on each body; [1 + 13 * 6]."""
    return *read_ant(data), data.cfrc_ext[1:]


def observe_ant(qpos: Array, qvel: Array, readings: Readings) -> Array:
    """All but x and y, and what contacts were read, clipped to [-1, 1]."""
    return jnp.concatenate([qpos[2:], qvel, jnp.clip(readings[1:], -1.0, 1.0)])


def healthy_ant(qpos: Array, qvel: Array, readings: Readings) -> Array:
    """Height between 0.2 and 1 m."""
    return (qpos[2] >= 0.2) & (qpos[2] <= 1.0)


def pay_ant(
    qpos: Array, qvel: Array, readings: Readings, before: Readings, dt: float
) -> Array:
    """Speed of the torso's `xpos`, less the cost of what contacts were read."""
    speed = (qpos[0] + readings[0] - before[0]) / dt
    return speed - 5e-4 * jnp.sum(jnp.clip(readings[1:], -1.0, 1.0) ** 2)


# Inverted pendulum; qpos is (cart, angle).


def healthy_pendulum(qpos: Array, qvel: Array, readings: Readings) -> Array:
    """The pole within 0.2 rad of upright."""
    return jnp.abs(qpos[1]) <= 0.2


# Inverted double pendulum; qpos is (cart, angle, angle).


def read_double_pendulum(data: Any) -> tuple[Any, ...]:
    """The tip's x and height, and the constraint force on each joint; [2 + 3]."""
    return data.site_xpos[0, ::2], data.qfrc_constraint


def observe_double_pendulum(
    qpos: Array, qvel: Array, readings: Readings, *, forces: int
) -> Array:
    """The cart, sines and cosines of the angles, velocities and forces within 10.

    Only the first force, of the ends of the rail on the cart, is ever not zero.
    """
    rates = jnp.concatenate([qvel, readings[2 : 2 + forces]])
    angles = qpos[1:]
    return jnp.concatenate(
        [qpos[:1], jnp.sin(angles), jnp.cos(angles), jnp.clip(rates, -10.0, 10.0)]
    )


def healthy_double_pendulum(qpos: Array, qvel: Array, readings: Readings) -> Array:
    """The tip above 1 m."""
    return readings[1] > 1.0


def pay_double_pendulum(
    qpos: Array, qvel: Array, readings: Readings, before: Readings, dt: float
) -> Array:
    """Less the tip's distance from (0, 2 m) and the speeds of the hinges."""
    distance = 0.01 * readings[0] ** 2 + (readings[1] - 2) ** 2
    return -distance - 1e-3 * qvel[1] ** 2 - 5e-3 * qvel[2] ** 2
