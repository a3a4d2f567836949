"""Tiny environments whose right values are known, each isolating one part of an agent.

    episodes.reset(key, diagnostic.delayed_reward())

All have one action entry and observations of width 1. `gamma` is the discount.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rpex_jax.envs import Env
from rpex_jax.envs.base import EnvState
from rpex_jax.types import Array, Key, Spec


def constant_reward(terminates: bool = True) -> Env:
    """Reward 1, observation 0. Isolates the regression of values, and time limits.

    Values: Q = V = 1 if the only step terminates. If not, a time limit of 4 steps cuts
    the episode and Q = V = 1 / (1 - gamma), since a time limit stops no bootstrapping.
    """
    return _env(
        "constant_reward",
        draw=lambda key: jnp.zeros(1),
        observe=lambda drawn, time: drawn,
        pay=lambda drawn, time, action: jnp.ones(()),
        steps=1 if terminates else None,
    )


def observation_reward() -> Env:
    """Reward equal to the observation o ~ U(-1, 1), one step. Isolates the inputs.

    Values: Q(o, a) = V(o) = o.
    """
    return _env(
        "observation_reward",
        draw=_draw,
        observe=lambda drawn, time: drawn,
        pay=lambda drawn, time, action: drawn[0],
    )


def delayed_reward() -> Env:
    """Two steps, observations 0 and 1, rewards 0 and 1. Isolates the discount.

    Values: V(0) = gamma, V(1) = 1; the same for Q.
    """
    return _env(
        "delayed_reward",
        draw=lambda key: jnp.zeros(1),
        observe=lambda drawn, time: time * jnp.ones(1),
        pay=lambda drawn, time, action: jnp.where(time == 1, 1.0, 0.0),
        steps=2,
    )


def action_reward() -> Env:
    """Reward -(a - 0.5)^2, observation 0, one step. Isolates the policy's improvement.

    Values: Q(0, a) = -(a - 0.5)^2; the best action is 0.5, its value 0.
    """
    return _env(
        "action_reward",
        draw=lambda key: jnp.zeros(1),
        observe=lambda drawn, time: drawn,
        pay=lambda drawn, time, action: -((action[0] - 0.5) ** 2),
    )


def target_reward() -> Env:
    """Reward -(a - o)^2, o ~ U(-1, 1), one step. Isolates the policy's inputs.

    Values: Q(o, a) = -(a - o)^2; the best action is o, its value 0.
    """
    return _env(
        "target_reward",
        draw=_draw,
        observe=lambda drawn, time: drawn,
        pay=lambda drawn, time, action: -((action[0] - drawn[0]) ** 2),
    )


def _draw(key: Key) -> Array:
    return jax.random.uniform(key, (1,), minval=-1.0, maxval=1.0)


def _env(
    name: str,
    draw: Callable[[Key], Array],
    observe: Callable[[Array, Array], Array],
    pay: Callable[[Array, Array, Array], Array],
    steps: int | None = 1,
) -> Env:
    """An episode of `steps` steps, or cut after 4; what was drawn is its physics."""

    def reset(key: Key) -> EnvState:
        drawn, time = draw(key), jnp.zeros((), jnp.int32)
        no = jnp.zeros((), bool)
        return EnvState(drawn, observe(drawn, time), jnp.zeros(()), no, no, time, no)

    def step(state: EnvState, action: Array) -> EnvState:
        drawn, time = state.physics, state.time + 1
        return state._replace(
            observation=observe(drawn, time),
            reward=pay(drawn, state.time, jnp.clip(action, -1.0, 1.0)),
            terminated=jnp.asarray(False) if steps is None else time >= steps,
            time=time,
        )

    return Env(name, Spec(observation_dim=1, action_dim=1), reset, step, time_limit=4)
