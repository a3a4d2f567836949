"""Physics engines: one function `(PhysicsState, control) -> (PhysicsState, readings)`.

An engine takes one state, or any leading axes through `jax.vmap`, and knows nothing of
tasks. This one is MuJoCo's C library on the host; `mjx` has the compiled ones.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import mujoco.rollout
import numpy as np
from jax.experimental.buffer_callback import Buffer, buffer_callback

from rpex_jax.devices import num_cores
from rpex_jax.types import Array


class PhysicsState(NamedTuple):
    """All that physics needs to go on; the same for every engine."""

    qpos: Array  # [nq]
    qvel: Array  # [nv]
    qacc_warmstart: Array  # [nv]


# What a task takes from MuJoCo's data beyond positions and velocities: an array,
# [width], or () where it takes nothing. It is left over from the last time that a
# control step evaluated the dynamics (with RK4 in its last stage); no function of the
# new state gives it.
Readings = Any
Engine = Callable[[PhysicsState, Array], tuple[PhysicsState, Readings]]

# Picks readings from `mujoco.MjData` or `mjx.Data`, after `mj_rnePostConstraint`.
Read = Callable[[Any], tuple[Any, ...]]

# (states with the clock [n, 1 + nq + nv], controls [n, nu]) ->
# (the same states [frame_skip] physics steps later, readings [n, width]), NumPy only.
_Advance = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

# Where a state diverges, MuJoCo resets it, clock included, and `rollout` stops. As the
# clock starts far from zero, it is late in the end wherever anything went wrong.
_CLOCK = 1000.0

_lock = threading.Lock()  # one set of threads, so one call at a time


def reading_width(model: mujoco.MjModel, read: Read) -> int:
    """How many numbers `read` picks."""
    return sum(np.size(part) for part in read(mujoco.MjData(model)))


def zero_readings(model: mujoco.MjModel, read: Read | None) -> Readings:
    """What is read before anything moved."""
    return () if read is None else jnp.zeros(reading_width(model, read))


def check_state(model: mujoco.MjModel) -> None:
    """Raises a ValueError where positions and velocities are not the whole state."""
    nq, nv = model.nq, model.nv
    full = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    if full != 1 + nq + nv:
        raise ValueError(
            f"the model has {full} state entries; only time, {nq} positions and "
            f"{nv} velocities are supported"
        )


def host_engine(
    model: mujoco.MjModel, frame_skip: int, read: Read | None = None
) -> Engine:
    """MuJoCo's C engine: all environments of a call in one threaded rollout.

    The engine works under `jit`, `vmap` (nested too), `scan` and `while_loop`, on any
    device; it has no gradient. Physics is computed in float64, states are float32.
    The warm start comes back as zeros: `rollout` returns none, and the solver converges
    without it (a control step differs by less than 1e-11).

    Args:
      model: constants of the simulated body; no actuator states, no mocap bodies.
      frame_skip: physics steps in a control step, at least 1.
      read: what to read after a control step; None is nothing, and a little faster.

    Returns:
      The engine. A state that is not finite or that diverges comes back as NaN, and
      leaves the other states of its batch alone. The first kind costs nothing.

    Raises:
      ValueError: the model has state beyond positions and velocities.
    """
    check_state(model)
    nq, nv, nu = model.nq, model.nv, model.nu
    width = nq + nv + (0 if read is None else reading_width(model, read))
    due = _CLOCK + (frame_skip - 0.5) * model.opt.timestep
    if read is None:
        advance = _rollout(model, frame_skip)
    else:
        advance = _stepper(model, frame_skip, read)

    def simulate(inputs: np.ndarray) -> np.ndarray:
        """[..., nq + nv + nu] -> [..., width], NumPy only."""
        inputs = np.asarray(inputs)
        rows = inputs.reshape(-1, nq + nv + nu)
        outputs = np.full((len(rows), width), np.nan, np.float32)
        # MuJoCo takes what is not finite: it resets a state and zeroes a control.
        live = np.flatnonzero(np.isfinite(rows).all(axis=1))
        if live.size:
            rows = rows[live]
            before = np.full((len(rows), 1 + nq + nv), _CLOCK)
            before[:, 1:] = rows[:, : nq + nv]
            with _lock, silence():  # divergence is reported as NaN
                after, readings = advance(before, rows[:, nq + nv :])
                # The limit at which MuJoCo would reset at the start of the next step.
                sound = (np.abs(after[:, 1:]) < mujoco.mjMAXVAL).all(axis=1)
                sound &= after[:, 0] > due
                moved = np.concatenate([after[:, 1:], readings], axis=1)
            outputs[live[sound]] = moved[sound]
        return outputs.reshape(*inputs.shape[:-1], width)

    def simulate_into(context: Any, outputs: Buffer, inputs: Buffer) -> None:
        np.asarray(outputs)[...] = simulate(inputs)

    result = jax.ShapeDtypeStruct((width,), jnp.float32)
    how = {"vmap_method": "broadcast_all"}
    # A CPU's memory is NumPy's: without the copies of a pure callback, PEX of one run
    # takes 6 to 11 % less.
    call = functools.partial(
        jax.lax.platform_dependent,
        cpu=buffer_callback(simulate_into, result, **how),
        default=functools.partial(jax.pure_callback, simulate, result, **how),
    )

    def engine(state: PhysicsState, control: Array) -> tuple[PhysicsState, Readings]:
        outputs = call(jnp.concatenate([state.qpos, state.qvel, control]))
        qpos, qvel, readings = jnp.split(outputs, [nq, nq + nv])
        moved = PhysicsState(qpos, qvel, jnp.zeros_like(qvel))
        return moved, () if read is None else readings

    return engine


def _rollout(model: mujoco.MjModel, frame_skip: int) -> _Advance:
    """All states in one call of `mujoco.rollout`, which gives no readings."""

    @functools.lru_cache(maxsize=8)  # doublings; a program uses few
    def scratch(count: int) -> tuple[list[mujoco.MjModel], np.ndarray, np.ndarray]:
        controls = np.empty((count, frame_skip, model.nu))
        after = np.empty((count, frame_skip, 1 + model.nq + model.nv))
        return [model] * count, controls, after

    @functools.cache  # on first use: making an engine costs nothing
    def workers() -> list[mujoco.MjData]:
        return [mujoco.MjData(model) for _ in range(_pool().nthread)]

    def advance(before: np.ndarray, control: np.ndarray):
        count = len(before)
        models, *arrays = scratch(1 << (count - 1).bit_length())
        controls, after = (array[:count] for array in arrays)
        controls[:] = control[:, None]
        _pool().rollout(
            models[:count],
            workers(),
            before,
            controls,
            state=after,
            nstep=frame_skip,
            skip_checks=True,  # they copy; all is of the right form
        )
        return after[:, -1], np.empty((len(before), 0))

    return advance


def _stepper(model: mujoco.MjModel, frame_skip: int, read: Read) -> _Advance:
    """State after state from Python, shared among threads; MuJoCo frees the GIL."""
    physics = mujoco.mjtState.mjSTATE_FULLPHYSICS
    entire = physics | mujoco.mjtState.mjSTATE_WARMSTART | mujoco.mjtState.mjSTATE_CTRL
    width = reading_width(model, read)

    @functools.cache  # on first use: making an engine costs nothing
    def workers() -> list[mujoco.MjData]:
        return [mujoco.MjData(model) for _ in range(num_cores())]

    def advance(before: np.ndarray, control: np.ndarray):
        cold = np.zeros((len(before), model.nv))
        before = np.concatenate([before, cold, control], axis=1)
        after = np.empty((len(before), 1 + model.nq + model.nv))
        readings = np.empty((len(before), width))

        def work(data: mujoco.MjData, rows: np.ndarray) -> None:
            for row in rows:
                mujoco.mj_setState(model, data, before[row], entire)
                mujoco.mj_step(model, data, frame_skip)
                mujoco.mj_rnePostConstraint(model, data)
                mujoco.mj_getState(model, data, after[row], physics)
                readings[row] = np.concatenate([np.ravel(x) for x in read(data)])

        count = min(len(before), len(workers()))
        shares = np.array_split(np.arange(len(before)), count)
        list(_executor().map(work, workers()[:count], shares))
        return after, readings

    return advance


# The threads that all engines of a process share, started on first use.
@functools.cache
def _pool() -> mujoco.rollout.Rollout:
    return mujoco.rollout.Rollout(nthread=num_cores())


@functools.cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_cores())


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
