"""Physics engines: one function `(PhysicsState, control) -> PhysicsState`.

An engine takes one state, or any leading axes through `jax.vmap`, and knows nothing of
tasks. This one is MuJoCo's C library on the host.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import mujoco.rollout
import numpy as np

from rpex_jax.types import Array


class PhysicsState(NamedTuple):
    """All that physics needs to go on; the same for every engine."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    qacc_warmstart: Array  # [nv]


Engine = Callable[[PhysicsState, Array], PhysicsState]

# Where a state diverges, MuJoCo resets it, clock included, and `rollout` stops. As the
# clock starts far from zero, it is late in the end wherever anything went wrong.
_CLOCK = 1000.0

_lock = threading.Lock()  # one pool, so one rollout at a time


def host_engine(model: mujoco.MjModel, frame_skip: int) -> Engine:
    """MuJoCo's C engine: all environments of a call in one threaded rollout.

    The engine works under `jit`, `vmap` (nested too), `scan` and `while_loop`, on any
    device; it has no gradient. Physics is computed in float64, states are float32.
    The warm start comes back as zeros: `rollout` returns none, and the solver converges
    without it (a control step differs by less than 1e-11).

    Args:
      model: constants of the simulated body; no actuator states, no mocap bodies.
      frame_skip: physics steps in a control step, at least 1.

    Returns:
      The engine. A state that is not finite or that diverges comes back as NaN, and
      leaves the other states of its batch alone.

    Raises:
      ValueError: the model has state beyond positions and velocities.
    """
    nq, nv, nu = model.nq, model.nv, model.nu
    full = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    if full != 1 + nq + nv:
        raise ValueError(
            f"the model has {full} state entries; only time, {nq} positions and "
            f"{nv} velocities are supported"
        )
    due = _CLOCK + (frame_skip - 0.5) * model.opt.timestep

    @functools.lru_cache(maxsize=8)  # a program uses few batch sizes
    def scratch(count: int) -> tuple[list[mujoco.MjModel], np.ndarray, ...]:
        before = np.full((count, full), _CLOCK)
        controls = np.empty((count, frame_skip, nu))
        after = np.empty((count, frame_skip, full))
        return [model] * count, before, controls, after

    @functools.cache  # on first use: making an engine costs nothing
    def workers() -> list[mujoco.MjData]:
        return [mujoco.MjData(model) for _ in range(_pool().nthread)]

    def simulate(inputs: np.ndarray) -> np.ndarray:
        """[..., nq + nv + nu] -> [..., nq + nv], NumPy only."""
        inputs = np.asarray(inputs)
        rows = inputs.reshape(-1, nq + nv + nu)
        # MuJoCo takes what is not finite: it resets a state and zeroes a control.
        sound = np.isfinite(rows).all(axis=1)
        with _lock:
            models, before, controls, after = scratch(len(rows))
            before[:, 1:] = rows[:, : nq + nv]
            controls[:] = rows[:, None, nq + nv :]
            with silence():  # divergence is reported as NaN
                _pool().rollout(
                    models,
                    workers(),
                    before,
                    controls,
                    state=after,
                    nstep=frame_skip,
                    skip_checks=True,  # they copy; all is of the right form
                )
            states = after[:, -1, 1:]
            sound &= after[:, -1, 0] > due
            # The limit at which MuJoCo would reset at the start of the next step.
            sound &= (np.abs(states) < mujoco.mjMAXVAL).all(axis=1)
            outputs = np.where(sound[:, None], states, np.nan).astype(np.float32)
        return outputs.reshape(*inputs.shape[:-1], nq + nv)

    def engine(state: PhysicsState, control: Array) -> PhysicsState:
        outputs = jax.pure_callback(
            simulate,
            jax.ShapeDtypeStruct((nq + nv,), jnp.float32),
            jnp.concatenate([state.qpos, state.qvel, control]),
            vmap_method="broadcast_all",
        )
        return PhysicsState(
            outputs[:nq], outputs[nq:], jnp.zeros_like(state.qacc_warmstart)
        )

    return engine


@functools.cache
def _pool() -> mujoco.rollout.Rollout:
    """The threads that all engines of a process share, started on first use."""
    if hasattr(os, "sched_getaffinity"):  # what a job scheduler left us
        return mujoco.rollout.Rollout(nthread=len(os.sched_getaffinity(0)))
    return mujoco.rollout.Rollout(nthread=os.cpu_count())


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keeps MuJoCo's warnings from the console and from MUJOCO_LOG.TXT."""
    loud, silent = mujoco.MjLogConfig.get(), mujoco.MjLogConfig.get()
    silent.logto_console = silent.logto_file = False
    silent.set()
    try:
        yield
    finally:
        loud.set()
