"""IQL over a finite set of actions.

Critics and values are those of `agents.iql`, which see an action as a one-hot vector;
the policy is categorical.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.agents import iql
from rpex_jax.agents.iql import IQLConfig, IQLState
from rpex_jax.networks import MLP, torch_linear
from rpex_jax.optimizers import adam_init
from rpex_jax.selection import selection_logits
from rpex_jax.types import Array, Key, Spec, Transition


class Categorical(NamedTuple):
    """A probability for each action; samples are one-hot."""

    logits: Array  # [..., num_actions]

    def mode(self) -> Array:
        return jax.nn.one_hot(self.logits.argmax(-1), self.logits.shape[-1])

    def sample(self, key: Key) -> Array:
        drawn = jax.random.categorical(key, self.logits)
        return jax.nn.one_hot(drawn, self.logits.shape[-1])

    def log_prob(self, actions: Array) -> Array:
        return (jax.nn.log_softmax(self.logits) * actions).sum(-1)


def apply_policy(params: Any, observations: Array, config: IQLConfig) -> Categorical:
    """pi(. | s) under the given policy parameters."""
    num_actions = params["params"][f"Dense_{len(config.hidden_dims)}"]["bias"].size
    network = MLP(config.hidden_dims, num_actions, torch_linear)
    return Categorical(network.apply(params, observations))


def init(key: Key, spec: Spec, config: IQLConfig) -> IQLState:
    """As IQL's, but for the policy; `spec.action_dim` is the number of actions."""
    key_iql, key_actor = jax.random.split(key)
    network = MLP(config.hidden_dims, spec.action_dim, torch_linear)
    actor = network.init(key_actor, jnp.zeros(spec.observation_dim))
    state = iql.init(key_iql, spec, config)
    return state._replace(actor=actor, actor_optimizer=adam_init(actor))


def update(
    key: Key, state: IQLState, batch: Transition, config: IQLConfig
) -> tuple[IQLState, dict]:
    """IQL's order: V, Q, target; the policy by AWR with the advantages before them."""
    del key
    state, advantages, metrics = iql.critic_update(state, batch, config)
    weights = iql.policy_weight(advantages, config)
    state, actor_metrics = iql.actor_step(
        state,
        batch.observations,
        batch.actions,
        weights,
        config,
        apply_policy=apply_policy,
    )
    return state, metrics | actor_metrics


def policy(state: IQLState, observations: Array, config: IQLConfig) -> Categorical:
    """pi(. | s)."""
    return apply_policy(state.actor, observations, config)


def act(
    key: Key, state: IQLState, observations: Array, config: IQLConfig, *, greedy: bool
) -> Array:
    """The likeliest action if `greedy`, else a drawn one; one-hot."""
    distribution = policy(state, observations, config)
    return distribution.mode() if greedy else distribution.sample(key)


def log_policy(state: IQLState, observations: Array, config: IQLConfig) -> Array:
    """log pi(a | s) of every action, [..., num_actions]."""
    return jax.nn.log_softmax(policy(state, observations, config).logits)


def logits_of_all(
    state: IQLState,
    observations: Array,
    config: IQLConfig,
    inv_temperature: Array,
    kappa: Array,
) -> Array:
    """RPEX's logits where every action is a proposal, [..., num_actions].

    p is the policy's probability of the action; kappa = 0 is softmax(lambda Q).
    """
    log_p = log_policy(state, observations, config)
    actions = jnp.eye(log_p.shape[-1])

    def of_one(action):
        actions = jnp.broadcast_to(action, (*observations.shape[:-1], action.size))
        return iql.action_value(state, observations, actions, config)

    q = jax.vmap(of_one, out_axes=-1)(actions)
    v = iql.state_value(state, observations, config)
    return selection_logits(q, v, log_p, inv_temperature, kappa)


AGENT = iql.AGENT._replace(init=init, update=update, act=act, policy=policy)
