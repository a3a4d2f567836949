"""Conservative Q-learning, CQL(H), arXiv 2006.04779: SAC on a fixed data set, whose
critics are pushed down where the policy would go and up at the data.

The numbers are those of RPEX's baseline (pex/algorithms/cql.py, after CORL): no entropy
in the TD target, no Lagrange multiplier, a slower policy. One update takes critics,
temperature and actor in SAC's order; theirs takes all from the state before it. The
policy starts as our SAC's does; theirs shifts the log-deviation by a learned -1.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rpex_jax.agents import sac
from rpex_jax.agents.critics import (
    apply_critics,
    descend,
    summed_squared,
    target_action_value,
    target_step,
    td_target,
)
from rpex_jax.agents.sac import SACConfig, SACState
from rpex_jax.types import Array, Key, Transition, static


@struct.dataclass
class CQLConfig(SACConfig):
    """SAC's numbers, `learning_rate` being the critics', and CQL's own."""

    policy_learning_rate: float = 3e-5  # of the temperature too
    penalty: float = 10.0  # weight of the conservative term
    hidden_dims: tuple[int, ...] = static((256, 256, 256))
    num_proposals: int = static(5)  # of each of three kinds of actions


def proposals(
    key: Key, state: SACState, batch: Transition, config: CQLConfig
) -> tuple[Array, Array]:
    """Actions to be pessimistic about, and the log-densities they are drawn with.

    Uniform ones, the policy's at s and its own at s', all of them taken at s.

    Returns:
      [3 num_proposals, batch, action_dim] and [3 num_proposals, batch].
    """
    key_uniform, key_here, key_next = jax.random.split(key, 3)

    def of_policy(key, observations):
        repeated = jnp.broadcast_to(
            observations, (config.num_proposals, *observations.shape)
        )
        return sac.policy(state, repeated, config).sample_and_log_prob(key)

    shape = (config.num_proposals, *batch.actions.shape)
    uniform = jax.random.uniform(key_uniform, shape, minval=-1.0, maxval=1.0)
    density = jnp.full(shape[:-1], -shape[-1] * math.log(2.0))
    here = of_policy(key_here, batch.observations)
    ahead = of_policy(key_next, batch.next_observations)
    return jax.tree.map(lambda *x: jnp.concatenate(x), (uniform, density), here, ahead)


def conservative_gap(
    params: Any, batch: Transition, actions: Array, log_probs: Array, config: CQLConfig
) -> Array:
    """Sum over critics of mean(log sum_a exp(Q_k(s, a) - log p(a)) - Q_k(s, a_data)).

    Args:
      params: of the critics.
      batch: the data.
      actions: proposed, [proposals, batch, action_dim].
      log_probs: the densities they are drawn with, [proposals, batch].

    Source: arXiv 2006.04779, equation 4, importance sampled as in its code.
    """
    observations = jnp.broadcast_to(
        batch.observations, (len(actions), *batch.observations.shape)
    )
    proposed = apply_critics(params, observations, actions, config)
    data = apply_critics(params, batch.observations, batch.actions, config)
    soft_maximum = jax.nn.logsumexp(proposed - log_probs, axis=1)
    return (soft_maximum - data).mean(-1).sum()


def critic_step(
    key: Key, state: SACState, batch: Transition, config: CQLConfig
) -> tuple[SACState, dict]:
    """Sum over critics of mean (Q - y)^2, and the penalty times the gap."""
    key_next, key_proposals = jax.random.split(key)
    next_actions = sac.policy(state, batch.next_observations, config).sample(key_next)
    next_q = target_action_value(state, batch.next_observations, next_actions, config)
    targets = td_target(batch, next_q, config)
    actions, log_probs = proposals(key_proposals, state, batch, config)

    def loss_fn(params):
        q = apply_critics(params, batch.observations, batch.actions, config)
        gap = conservative_gap(params, batch, actions, log_probs, config)
        metrics = {"critic/mean": q.mean(), "critic/gap": gap}
        return summed_squared(targets - q) + config.penalty * gap, metrics

    return descend(state, loss_fn, config)


def update(
    key: Key, state: SACState, batch: Transition, config: CQLConfig
) -> tuple[SACState, dict]:
    """One update on a batch."""
    key_critic, key_actor = jax.random.split(key)
    state, critic_metrics = critic_step(key_critic, state, batch, config)
    slower = config.replace(learning_rate=config.policy_learning_rate)
    state, actor_metrics = sac.actor_step(key_actor, state, batch.observations, slower)
    return target_step(state, config), critic_metrics | actor_metrics


AGENT = sac.AGENT._replace(update=update)
