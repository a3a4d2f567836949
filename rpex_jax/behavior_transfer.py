"""Behavior Transfer, BT, arXiv 2102.13515: a pretrained policy explores and serves.

It explores in flights: now and then the frozen policy takes over for a number of steps
from a heavy-tailed zeta distribution. Between flights it is one more action that can
be chosen. In the source actions are discrete and its value is learned as theirs are;
with continuous actions we take Q of the action that it proposes, and the better of its
and the learner's is done. The learner begins with fresh networks. An evaluated agent
chooses likewise, without flights.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rpex_jax.guided import around, fresh_pair, pretrained_action
from rpex_jax.types import Agent, Array, Key, Spec

# Of the table that lengths are drawn from. A flight ends with its episode; at exponent
# 2 one in 1600 would be longer.
LONGEST = 1000


@struct.dataclass
class BTConfig:
    """How often it takes over, and for how long."""

    base: Any  # the learner's config
    flight_probability: float = 0.01  # that a step outside a flight begins one; ours
    exponent: float = 2.0  # of the lengths; as in arXiv 2006.01782


class BTState(NamedTuple):
    """The frozen policy, the learner, and the flight they are in."""

    pretrained: Any  # policy parameters
    base: Any  # of the learner
    flight: Array  # [], int32, steps of it that are left


def draw_length(key: Key, exponent: Array) -> Array:
    """n with probability proportional to n^-exponent, in [1, LONGEST]; [], int32."""
    weights = jnp.arange(1.0, LONGEST + 1) ** -exponent
    mass = jnp.cumsum(weights)
    place = jnp.searchsorted(mass, mass[-1] * jax.random.uniform(key))
    return 1 + place.astype(jnp.int32)


def behavior_transfer(base: Agent) -> Agent:
    """The agent that learns as `base` does, with a frozen policy of it at hand.

    Its config is a `BTConfig`, its state a `BTState`.
    """

    def init(key: Key, spec: Spec, config: BTConfig) -> BTState:
        pretrained, learner = fresh_pair(base, key, spec, config)
        return BTState(pretrained, learner, jnp.zeros((), jnp.int32))

    def act(
        key: Key, state: BTState, observations: Array, config: BTConfig, *, greedy: bool
    ) -> Array:
        key_frozen, key_learner = jax.random.split(key)
        frozen = pretrained_action(base, key_frozen, state, observations, config)
        own = base.act(
            key_learner, state.base, observations, config.base, greedy=greedy
        )
        frozen_q, own_q = (
            base.action_value(state.base, observations, actions, config.base)
            for actions in (frozen, own)
        )
        return jnp.where((frozen_q > own_q)[..., None], frozen, own)

    def explore(
        key: Key, state: BTState, observation: Array, config: BTConfig, time: Array
    ) -> tuple[Array, BTState]:
        key_start, key_length, key_frozen, key_act = jax.random.split(key, 4)
        left = jnp.where(time == 0, 0, state.flight)
        starts = jax.random.bernoulli(key_start, config.flight_probability)
        length = draw_length(key_length, config.exponent)
        left = jnp.where((left == 0) & starts, length, left)
        action = jnp.where(
            left > 0,
            pretrained_action(base, key_frozen, state, observation, config),
            act(key_act, state, observation, config, greedy=False),
        )
        return action, state._replace(flight=jnp.maximum(left - 1, 0))

    return around(base)._replace(init=init, act=act, explore=explore)
