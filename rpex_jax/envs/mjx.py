"""Physics engines that compile with the rest: MJX, and MuJoCo Warp through MJX.

The state, the arguments and what is returned are those of `physics.host_engine`.
Physics is computed in float32.
"""

import contextlib
import functools
import importlib.util
import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.scipy.spatial.transform import Rotation

from rpex_jax.envs.physics import (
    Engine,
    PhysicsState,
    Read,
    Readings,
    check_state,
    zero_readings,
)
from rpex_jax.types import Array

# The classical Runge-Kutta method: how far along the last stage's slope each stage
# looks, and what its own slope weighs.
_REACH = np.array([0.0, 0.5, 0.5, 1.0], np.float32)
_WEIGHT = np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6], np.float32)

_Substep = Callable[[PhysicsState, Array], tuple[PhysicsState, Readings]]


def mjx_engine(
    model: mujoco.MjModel, frame_skip: int, read: Read | None = None
) -> Engine:
    """MJX, in XLA: any device, any transformation.

    It is traced once however many programs use it, and each of them holds MuJoCo's
    forward dynamics once, in a loop over physics steps and stages; that is what
    compiling costs.

    Args:
      model: constants of the simulated body; no actuator states, and no quaternions but
        that of a free first joint.
      frame_skip: physics steps in a control step, at least 1.
      read: what to read after a control step.

    Returns:
      The engine. A state that is not finite or that diverges comes back as NaN, and
      leaves the other states of its batch alone.

    Raises:
      ValueError: the model has joints, state or an integrator not supported.
    """
    _check_joints(model)
    integrators = {
        mujoco.mjtIntegrator.mjINT_EULER: _euler,
        mujoco.mjtIntegrator.mjINT_RK4: _runge_kutta,
    }
    if model.opt.integrator not in integrators:
        raise ValueError("the model's integrator is not supported; Euler and RK4 are")
    substep = integrators[model.opt.integrator](_import_mjx(), model, read)
    return _engine(substep, model, frame_skip, read)


def warp_engine(
    model: mujoco.MjModel, frame_skip: int, read: Read | None = None
) -> Engine:
    """MuJoCo Warp, for many environments on NVIDIA's GPUs.

    Arguments, result and errors are those of `mjx_engine`; readings are not supported.

    Raises:
      ImportError: warp-lang is not installed.
    """
    if importlib.util.find_spec("warp") is None:
        raise ImportError(
            "engine 'warp' needs the package warp-lang: `pip install warp-lang`"
        )
    if read is not None:
        raise ValueError("engine 'warp' has no readings")
    mjx = _import_mjx()
    compiled = mjx.put_model(model, impl="warp")
    template = mjx.make_data(model, impl="warp")

    def substep(state: PhysicsState, control: Array) -> tuple[PhysicsState, Readings]:
        data = mjx.step(compiled, template.replace(ctrl=control, **state._asdict()))
        return PhysicsState(data.qpos, data.qvel, data.qacc_warmstart), ()

    return _engine(substep, model, frame_skip, read)


def _engine(
    substep: _Substep, model: mujoco.MjModel, frame_skip: int, read: Read | None
) -> Engine:
    check_state(model)

    @jax.jit  # for one trace
    def engine(state: PhysicsState, control: Array) -> tuple[PhysicsState, Readings]:
        state, readings = jax.lax.fori_loop(
            0,
            frame_skip,
            lambda _, carry: substep(carry[0], control),
            (state, zero_readings(model, read)),
        )
        # Beyond mjMAXVAL MuJoCo would reset the state; a NaN is below nothing.
        sound = jnp.isfinite(control).all()
        for part in state[:2]:
            sound &= (jnp.abs(part) < mujoco.mjMAXVAL).all()
        return jax.tree.map(lambda x: jnp.where(sound, x, jnp.nan), (state, readings))

    return engine


def _euler(mjx: ModuleType, model: mujoco.MjModel, read: Read | None) -> _Substep:
    compiled, template = mjx.put_model(model), mjx.make_data(model)

    def substep(state: PhysicsState, control: Array) -> tuple[PhysicsState, Readings]:
        data = template.replace(ctrl=control, **state._asdict())
        data = mjx.euler(compiled, _forward(mjx, model, compiled, data))
        after = PhysicsState(data.qpos, data.qvel, data.qacc_warmstart)
        return after, _readings(mjx, compiled, data, read)

    return substep


def _runge_kutta(mjx: ModuleType, model: mujoco.MjModel, read: Read | None) -> _Substep:
    """Runge-Kutta as a loop over its stages.

    `mjx.step` unrolls the stages, which takes two to four times as long to compile.
    """
    compiled, template = mjx.put_model(model), mjx.make_data(model)
    timestep = model.opt.timestep

    def substep(state: PhysicsState, control: Array) -> tuple[PhysicsState, Readings]:
        start = template.replace(ctrl=control, qacc_warmstart=state.qacc_warmstart)

        def stage(carry, coefficients):
            (velocity, acceleration), sums, _ = carry
            reach, weight = coefficients
            qpos = _displaced(model, state.qpos, reach * timestep * velocity)
            velocity = state.qvel + reach * timestep * acceleration
            data = start.replace(qpos=qpos, qvel=velocity)
            data = _forward(mjx, model, compiled, data)
            slope = velocity, data.qacc
            sums = jax.tree.map(lambda s, x: s + weight * x, sums, slope)
            return (slope, sums, data), None

        zeros = jnp.zeros_like(state.qvel), jnp.zeros_like(state.qvel)
        (_, (velocity, acceleration), data), _ = jax.lax.scan(
            stage, (zeros, zeros, start), (_REACH, _WEIGHT)
        )
        after = PhysicsState(
            qpos=_displaced(model, state.qpos, timestep * velocity),
            qvel=state.qvel + timestep * acceleration,
            qacc_warmstart=acceleration,
        )
        data = data.replace(**after._asdict())
        return after, _readings(mjx, compiled, data, read)

    return substep


def _forward(mjx: ModuleType, model: mujoco.MjModel, compiled: Any, data: Any) -> Any:
    """`mjx.forward` without sensors, with the contact frames of MuJoCo's C code."""
    data = mjx.fwd_position(compiled, data)
    data = mjx.make_constraint(compiled, _aligned(model, data))
    data = mjx.fwd_velocity(compiled, data)
    data = mjx.fwd_actuation(compiled, data)
    data = mjx.fwd_acceleration(compiled, data)
    return mjx.solve(compiled, data)


def _aligned(model: mujoco.MjModel, data: Any) -> Any:
    """Contacts of capsules with a plane, the first tangent along the capsule.

    So does MuJoCo's C code, but MJX only up to 60 degrees of slope. As friction is
    limited by a pyramid, it matters how that is turned.
    """
    contact = data._impl.contact
    plane, capsule = contact.geom.T
    types = jnp.asarray(model.geom_type)
    lies = types[plane] == int(mujoco.mjtGeom.mjGEOM_PLANE)
    lies &= types[capsule] == int(mujoco.mjtGeom.mjGEOM_CAPSULE)
    normal, tangent = contact.frame[:, 0], contact.frame[:, 1]
    axis = data.geom_xmat[capsule].reshape(-1, 3, 3)[:, :, 2]
    along = axis - normal * jnp.sum(normal * axis, axis=1, keepdims=True)
    length = jnp.linalg.norm(along, axis=1, keepdims=True)
    defined = lies[:, None] & (length > 1e-6)
    tangent = jnp.where(defined, along / jnp.where(defined, length, 1.0), tangent)
    frame = jnp.stack([normal, tangent, jnp.cross(normal, tangent)], axis=1)
    return data.tree_replace({"_impl.contact.frame": frame})


def _readings(mjx: ModuleType, compiled: Any, data: Any, read: Read | None) -> Readings:
    if read is None:
        return ()
    data = mjx.rne_postconstraint(compiled, data)
    return jnp.concatenate([jnp.ravel(part) for part in read(data)])


def _displaced(model: mujoco.MjModel, qpos: Array, displacement: Array) -> Array:
    """Positions moved by [nv] lengths and angles; a free body turns in its frame."""
    if model.nq == model.nv:
        return qpos + displacement
    place, quaternion, joints = jnp.split(qpos, [3, 7])
    by_place, by_turn, by_joints = jnp.split(displacement, [3, 6])
    turned = Rotation.from_quat(jnp.roll(quaternion, -1))  # SciPy's has the scalar last
    turned *= Rotation.from_rotvec(by_turn)
    quaternion = turned.as_quat(scalar_first=True)
    return jnp.concatenate([place + by_place, quaternion, joints + by_joints])


def _check_joints(model: mujoco.MjModel) -> None:
    quaternions = model.nq - model.nv
    free_first = model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
    if quaternions > 0 and not (quaternions == 1 and free_first):
        raise ValueError(
            "the model has a ball joint, or a free joint that is not the first; only "
            "slides, hinges and a free first joint are supported"
        )


@functools.cache
def _import_mjx() -> ModuleType:
    """MJX, imported where it is needed: it takes a second, and prints without warp."""
    with contextlib.redirect_stdout(io.StringIO()):
        from mujoco import mjx
    return mjx
