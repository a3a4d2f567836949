"""Independent CQL agents that act as one: what Off2On, arXiv 2107.00591, pretrains.

The members share the batches here and differ in their weights and in the actions they
draw; in the source they differ in the batches too. Together they act by one Gaussian
with the mean and variance of their mixture, before the tanh, and value an action by the
mean of their smallest critics. Every part of the state has a leading member axis.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rpex_jax.agents import cql, sac
from rpex_jax.agents.cql import CQLConfig
from rpex_jax.agents.critics import apply_critics
from rpex_jax.agents.sac import SACState
from rpex_jax.distributions import TanhGaussian
from rpex_jax.types import Agent, Array, Key, Spec, Transition, static


@struct.dataclass
class CQLEnsembleConfig(CQLConfig):
    """CQL's numbers and how many agents there are."""

    hidden_dims: tuple[int, ...] = static((256, 256))
    num_members: int = static(5)


def init(key: Key, spec: Spec, config: CQLEnsembleConfig) -> SACState:
    """Fresh members, [num_members, ...]."""
    keys = jax.random.split(key, config.num_members)
    return jax.vmap(lambda key: sac.init(key, spec, config))(keys)


def update(
    key: Key, state: SACState, batch: Transition, config: CQLEnsembleConfig
) -> tuple[SACState, dict]:
    """One update of each member on the batch."""
    keys = jax.random.split(key, config.num_members)
    state, metrics = jax.vmap(cql.update, in_axes=(0, 0, None, None))(
        keys, state, batch, config
    )
    return state, jax.tree.map(jnp.mean, metrics)


def apply_policies(
    params: Any, observations: Array, config: CQLEnsembleConfig
) -> TanhGaussian:
    """The members' policies as one, with the first two moments of their mixture.

    Args:
      params: of the members' policies, [num_members, ...].
      observations: [..., observation_dim].

    Source: arXiv 2107.00591; its code's clip of the deviation is SAC's.
    """
    members = jax.vmap(lambda x: sac.apply_policy(x, observations, config))(params)
    mean = members.mean.mean(0)
    # of variances and of squared distances: a difference of squares could be negative
    within = jnp.exp(2.0 * members.log_std).mean(0)
    between = jnp.square(members.mean - mean).mean(0)
    log_std = 0.5 * jnp.log(within + between)
    return TanhGaussian(mean, jnp.clip(log_std, config.log_std_min, 2.0))


def apply_members(
    critics: Any, observations: Array, actions: Array, config: CQLEnsembleConfig
) -> Array:
    """Q of every critic of every member, [num_members, num_critics, ...]."""
    return jax.vmap(lambda x: apply_critics(x, observations, actions, config))(critics)


def policy(
    state: SACState, observations: Array, config: CQLEnsembleConfig
) -> TanhGaussian:
    """pi(. | s) of the members together."""
    return apply_policies(state.actor, observations, config)


def action_value(
    state: SACState, observations: Array, actions: Array, config: CQLEnsembleConfig
) -> Array:
    """Mean over members of min_k Q_k(s, a), [...]."""
    return apply_members(state.critic, observations, actions, config).min(1).mean(0)


def state_value(
    state: SACState, observations: Array, config: CQLEnsembleConfig
) -> Array:
    """Q of the mode."""
    mode = policy(state, observations, config).mode()
    return action_value(state, observations, mode, config)


def act(
    key: Key,
    state: SACState,
    observations: Array,
    config: CQLEnsembleConfig,
    *,
    greedy: bool,
) -> Array:
    """tanh of the mean if `greedy`, else a sample; inside (-1, 1)."""
    distribution = policy(state, observations, config)
    return distribution.mode() if greedy else distribution.sample(key)


AGENT = Agent(
    init=init,
    update=update,
    act=act,
    policy=policy,
    action_value=action_value,
    state_value=state_value,
    restart=jax.vmap(sac.restart),
)
