"""The few types that everything else passes around."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import struct

Array = jax.Array
Key = jax.Array  # a typed key, from jax.random.key


class Transition(NamedTuple):
    """Experience with any leading axes: one step, a batch, or a whole data set.

    Actions are in units of the policy: [-1, 1] spans what the environment accepts.
    A time limit needs no field: `next_observations` is the true one, so bootstrapping
    from it is right, and only `terminations` stops it.
    """

    observations: Array  # [..., observation_dim]
    actions: Array  # [..., action_dim], as the policy meant them
    rewards: Array  # [...]
    next_observations: Array  # [..., observation_dim], before any reset
    terminations: Array  # [...], 1.0 where the task ended, never for a time limit


class Spec(NamedTuple):
    """The widths of a problem; all that is needed to build networks for it."""

    observation_dim: int
    action_dim: int


class Agent(NamedTuple):
    """The functions of one learning algorithm, as the loops take them.

    `state` and `config` are the agent's own pytrees. Observations and actions take any
    leading batch axes. `critic_update` and `target_action_value` are what a policy set
    is built upon; None where an algorithm cannot be its base. `batches` is for
    algorithms that delay their policy: how many batches an update takes, stacked on a
    leading axis; None takes one without that axis. `explore` is for agents that act by
    the place in the episode, or remember what they did: it acts instead of `act` where
    online data are collected, one environment at a time, `time` steps after its reset,
    and keeps in the state what it has to remember; None acts by `act`. `notice` is told
    after each of those steps what it did to its episode, an `envs.episodes.Episode`;
    None is not.
    """

    init: Callable[..., Any]  # (key, spec, config) -> state
    update: Callable[..., Any]  # (key, state, batch, config) -> (state, metrics)
    act: Callable[..., Any]  # (key, state, observations, config, *, greedy) -> actions
    policy: Callable[..., Any]  # (state, observations, config) -> distribution
    action_value: Callable[..., Any]  # (state, observations, actions, config) -> Q
    state_value: Callable[..., Any]  # (state, observations, config) -> V
    restart: Callable[..., Any]  # (state) -> state for fine-tuning, fresh optimisers
    critic_update: Callable[..., Any] | None = None  # -> (state, advantages, metrics)
    target_action_value: Callable[..., Any] | None = None  # as action_value
    batches: Callable[[Any], int] | None = None  # (config) -> batches in an update
    # (key, state, observation, config, time) -> (action, state)
    explore: Callable[..., Any] | None = None
    notice: Callable[..., Any] | None = None  # (state, episode, config) -> state


def static(default: Any) -> Any:
    """A config field that is part of the program: batched runs must agree on it."""
    return struct.field(pytree_node=False, default=default)
