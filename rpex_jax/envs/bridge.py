"""Gymnasium both ways: its environments as ours, and ours as its.

env = from_gymnasium("Pendulum-v1")
gymnasium_env = GymnasiumEnv(envs.make("Hopper-v4"))
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import FlattenObservation, TimeLimit

from rpex_jax import envs
from rpex_jax.envs.base import Env, EnvState, check_action
from rpex_jax.envs.host import NOWHERE, HostEnvs, Outcome, Slot
from rpex_jax.types import Array, Key, Spec

Maker = Callable[[], gymnasium.Env]


def from_gymnasium(source: str | Maker, *, time_limit: int | None = None) -> Env:
    """A Gymnasium environment as one of ours, run on the host.

    It works under `jit`, `vmap` (nested too), `scan` and `while_loop`; what one batched
    call resets is one vector environment, seeded by the keys. Its world cannot go back,
    so a state is good for one `step`: the next one from it, or from a checkpoint, ends
    the episode as `failed`, with reward 0. So does an action, observation or reward
    that is not finite. An ended state stays as it is and pays nothing.

    Args:
      source: Gymnasium's id, `"Pendulum-v1"` or `"module:Name-v0"`, where importing the
        module registers it; or a function that makes the environment. Actions in
        [-1, 1] span its action space; observations become float32 of one axis.
      time_limit: steps of an episode; None takes the number that is registered.

    Raises:
      ValueError: the environment is not known, cannot be made, has no time limit, or
        has spaces that an agent for continuous control cannot use.
    """
    env = _make(source, time_limit)
    if isinstance(source, str):
        name = source
    else:
        name = env.spec.id if env.spec else type(env.unwrapped).__name__
    if time_limit is None and env.spec:
        time_limit = env.spec.max_episode_steps
    _check(name, env, time_limit)
    env.close()
    spec = Spec(env.observation_space.shape[0], int(np.prod(env.action_space.shape)))
    make_group = partial(_make_group, source, time_limit)
    host = HostEnvs(name, spec.observation_dim, make_group)
    result = Outcome(
        handle=jax.ShapeDtypeStruct((3,), jnp.int32),
        observation=jax.ShapeDtypeStruct((spec.observation_dim,), jnp.float32),
        reward=jax.ShapeDtypeStruct((), jnp.float32),
        terminated=jax.ShapeDtypeStruct((), bool),
        truncated=jax.ShapeDtypeStruct((), bool),
        failed=jax.ShapeDtypeStruct((), bool),
    )

    # The host is not pure, yet needs no more than a pure callback, which may be left
    # out where its result is not used, merged with an equal one, and moved. Each call
    # takes the handle that the one before gave, so those of an episode keep their
    # number and order, and a handle that comes twice is found out.
    def ask(method: Callable[..., Outcome], time: Array, *args: Array) -> EnvState:
        handle, *outcome = jax.pure_callback(
            method, result, *args, vmap_method="broadcast_all"
        )
        observation, reward, terminated, truncated, failed = outcome
        return EnvState(
            handle, observation, reward, terminated, truncated, time, failed
        )

    def start(key: Key, handle: Array, chosen: Array) -> EnvState:
        seed = jax.random.bits(key)
        return ask(host.reset, jnp.zeros((), jnp.int32), handle, seed, chosen)

    def reset(key: Key) -> EnvState:
        return start(key, jnp.array(NOWHERE), jnp.array(True))

    def step(state: EnvState, action: Array) -> EnvState:
        check_action(action, spec.action_dim)
        action = jnp.where(jnp.isfinite(action), jnp.clip(action, -1.0, 1.0), jnp.nan)
        return ask(host.step, state.time + 1, state.physics, action)

    def reset_where(key: Key, state: EnvState, ended: Array) -> EnvState:
        started = start(key, state.physics, ended)
        return jax.tree.map(partial(jnp.where, ended), started, state)

    return Env(name, spec, reset, step, time_limit, reset_where)


class GymnasiumEnv(gymnasium.Env):
    """One of our environments as a `gymnasium.Env`, time limit included.

    Args:
      env: the environment. One that comes from Gymnasium needs no way back.
    """

    metadata: ClassVar[dict] = {"render_modes": []}

    def __init__(self, env: Env):
        self._env = env
        self._state: EnvState | None = None
        self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)
        self.observation_space = Box(-np.inf, np.inf, (env.spec.observation_dim,))
        self.action_space = Box(-1.0, 1.0, (env.spec.action_dim,))

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        """The start of an episode; the seed decides it and those that follow."""
        super().reset(seed=seed)
        key = jax.random.key(self.np_random.integers(2**31))
        self._state = self._reset(key)
        return np.array(self._state.observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One step; `info["failed"]` tells of physics that was not finite."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        state = self._state = self._step(self._state, jnp.asarray(action, jnp.float32))
        return (
            np.array(state.observation),
            float(state.reward),
            bool(state.terminated),
            bool(state.truncated | (state.time >= self._env.time_limit)),
            {"failed": bool(state.failed)},
        )


def gymnasium_spec(name: str) -> EnvSpec:
    """What Gymnasium has to know of one of our environments to make it, as plain text.

    Args:
      name: one of `envs.TASKS`; of use for those that Gymnasium does not have itself.
    """
    return EnvSpec(
        name,
        entry_point="rpex_jax.envs.bridge:make_ours",
        max_episode_steps=envs.TASKS[name].time_limit,
        kwargs={"name": name},
    )


def make_ours(name: str) -> GymnasiumEnv:
    """One of our environments by its name, for a spec that was stored."""
    return GymnasiumEnv(envs.make(name))


def _make(source: str | Maker, time_limit: int | None) -> gymnasium.Env:
    if isinstance(source, str):
        try:
            env = gymnasium.make(source, max_episode_steps=time_limit)
        except Exception as error:  # whatever the environment's own code raises
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ValueError(
                f"Gymnasium cannot make {source!r} ({reason}); it must be the id of an "
                "environment whose packages are installed"
            ) from error
    else:
        env = source()
        if time_limit is not None:
            env = TimeLimit(env, time_limit)
    return _flatten(env)


def _make_group(source: str | Maker, time_limit: int | None, count: int) -> VectorEnv:
    settings = {"autoreset_mode": AutoresetMode.DISABLED, "copy": False}
    if isinstance(source, str):
        return gymnasium.make_vec(
            source,
            num_envs=count,
            vectorization_mode="sync",
            vector_kwargs=settings,
            wrappers=[_flatten, Slot],
            max_episode_steps=time_limit,
        )
    return SyncVectorEnv([lambda: Slot(_make(source, time_limit))] * count, **settings)


def _flatten(env: gymnasium.Env) -> gymnasium.Env:
    return env if _is_vector(env.observation_space) else FlattenObservation(env)


def _is_vector(space: gymnasium.Space) -> bool:
    return isinstance(space, Box) and len(space.shape) == 1


def _check(name: str, env: gymnasium.Env, time_limit: int | None) -> None:
    """Raises a `ValueError` for spaces and time limits that cannot be used."""
    actions, observations = env.action_space, env.observation_space
    continuous = isinstance(actions, Box) and np.issubdtype(actions.dtype, np.floating)
    if not (continuous and actions.is_bounded()):
        raise ValueError(
            f"{name} has the action space {actions}; it must be a Box of real numbers "
            "with finite bounds"
        )
    if not _is_vector(observations):
        raise ValueError(
            f"{name} has the observation space {observations}; it must be one that "
            "Gymnasium can flatten to a Box"
        )
    if time_limit is None or time_limit < 1:
        raise ValueError(
            f"{name} has the time limit {time_limit}; it must be a positive number of "
            "steps: register it with max_episode_steps or pass time_limit"
        )
