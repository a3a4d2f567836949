"""Jump-start reinforcement learning, JSRL, arXiv 2204.02372.

A frozen guide acts in the first h steps of an episode, a learner in the rest, so that
the learner meets the states near the goal first. h is drawn anew for each episode
("random", as in the paper) or shrinks to 0 ("linear"). The paper shrinks it whenever
the evaluated return holds; by the number of steps is our choice, for then a run needs
no evaluation to go on. The guide acts greedily and the learner begins with fresh
networks: ours too. Evaluated, and so in the end, the learner acts alone.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rpex_jax.guided import around, fresh_pair, pretrained_action
from rpex_jax.types import Agent, Array, Key, Spec

SCHEDULES = ("linear", "random")


@struct.dataclass
class JSRLConfig:
    """How long the guide acts; both schedules are numbers of one formula."""

    base: Any  # the learner's config
    horizon: float = 1000.0  # steps; the most that the guide acts in an episode
    decay_steps: float = math.inf  # environment steps until that is none
    randomness: float = 0.0  # 1: h is uniform below it; 0: h is it


class JSRLState(NamedTuple):
    """The guide, the learner, and where they are."""

    pretrained: Any  # policy parameters of the guide
    base: Any  # of the learner
    horizon: Array  # [], int32, h of this episode
    steps: Array  # [], int32, acted so far


def draw_horizon(key: Key, steps: Array, config: JSRLConfig) -> Array:
    """h of an episode that begins after `steps` environment steps; [], int32."""
    left = jnp.maximum(1.0 - steps / config.decay_steps, 0.0)
    below = 1.0 - config.randomness * (1.0 - jax.random.uniform(key))
    return jnp.floor(config.horizon * left * below).astype(jnp.int32)


def jsrl(base: Agent) -> Agent:
    """The agent that learns as `base` does and is jump-started by a guide of it.

    Its config is a `JSRLConfig`, its state a `JSRLState`. The guide acts online only.
    """

    def init(key: Key, spec: Spec, config: JSRLConfig) -> JSRLState:
        guide, learner = fresh_pair(base, key, spec, config)
        # two zeros: one array cannot be donated twice
        horizon, steps = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return JSRLState(guide, learner, horizon, steps)

    def explore(
        key: Key, state: JSRLState, observation: Array, config: JSRLConfig, time: Array
    ) -> tuple[Array, JSRLState]:
        key_horizon, key_guide, key_learner = jax.random.split(key, 3)
        drawn = draw_horizon(key_horizon, state.steps, config)
        horizon = jnp.where(time == 0, drawn, state.horizon)
        action = jnp.where(
            time < horizon,
            pretrained_action(base, key_guide, state, observation, config),
            base.act(key_learner, state.base, observation, config.base, greedy=False),
        )
        return action, state._replace(horizon=horizon, steps=state.steps + 1)

    return around(base)._replace(init=init, explore=explore)
