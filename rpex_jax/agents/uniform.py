"""Uniform actions: who records D4RL's `random` data, and how a run may warm up."""

import jax

from rpex_jax.agents.acting import acting
from rpex_jax.types import Agent, Array, Key, Spec


def uniform(spec: Spec) -> Agent:
    """An agent without a state that draws from [-1, 1] and learns nothing."""

    def act(
        key: Key, state: tuple, observations: Array, config: object, *, greedy: bool
    ) -> Array:
        shape = (*observations.shape[:-1], spec.action_dim)
        return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)

    return acting(act)
