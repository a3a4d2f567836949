"""AWAC, arXiv 2006.09359: an actor-critic whose policy is regressed on the data.

One update: critics to the TD target with an action of the policy, then the policy by
advantage-weighted regression with the new critics, then the target critics. The
advantage's baseline is one sample of the policy, as in CORL's awac.py; what the critics
are asked about is clipped to [-1, 1], as it would be executed.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from rpex_jax import losses
from rpex_jax.agents.critics import (
    action_value,
    fit_critics,
    init_critics,
    summed_squared,
    target_action_value,
    target_step,
    td_target,
)
from rpex_jax.agents.iql import act, apply_policy, policy
from rpex_jax.networks import GaussianPolicy
from rpex_jax.optimizers import adam_init, adam_step, copied
from rpex_jax.types import Agent, Array, Key, Spec, Transition, static


@struct.dataclass
class AWACConfig:
    """Numbers are leaves and take a run axis; structure is static."""

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_update_rate: float = 0.005
    beta: float = 1.0  # inverse of the paper's lambda
    hidden_dims: tuple[int, ...] = static((256, 256))
    num_critics: int = static(2)


class AWACState(NamedTuple):
    """Parameters and optimiser states, in the order they are updated."""

    critic: Any
    critic_optimizer: optax.ScaleByAdamState
    actor: Any
    actor_optimizer: optax.ScaleByAdamState
    target_critic: Any


def init(key: Key, spec: Spec, config: AWACConfig) -> AWACState:
    """Fresh networks and optimisers; the target starts as the critic."""
    key_critic, key_actor = jax.random.split(key)
    observation = jnp.zeros(spec.observation_dim)
    critic = init_critics(key_critic, spec, config)
    actor = GaussianPolicy(config.hidden_dims, spec.action_dim).init(
        key_actor, observation
    )
    return AWACState(
        critic=critic,
        critic_optimizer=adam_init(critic),
        actor=actor,
        actor_optimizer=adam_init(actor),
        target_critic=copied(critic),
    )


def restart(state: AWACState) -> AWACState:
    """The same networks with zero moments."""
    return state._replace(
        critic_optimizer=adam_init(state.critic),
        actor_optimizer=adam_init(state.actor),
    )


def state_value(state: AWACState, observations: Array, config: AWACConfig) -> Array:
    """min_k Q_k(s, mode of the policy): AWAC keeps no V network."""
    mode = policy(state, observations, config).mode()
    return action_value(state, observations, mode, config)


def clipped_sample(
    key: Key, state: AWACState, observations: Array, config: AWACConfig
) -> Array:
    """A sample of the policy, in [-1, 1]."""
    return jnp.clip(policy(state, observations, config).sample(key), -1.0, 1.0)


def critic_step(
    key: Key, state: AWACState, batch: Transition, config: AWACConfig
) -> tuple[AWACState, dict]:
    """Sum over critics of mean (Q - y)^2, y = r + gamma (1 - d) min_k Q'_k(s', a')."""
    next_actions = clipped_sample(key, state, batch.next_observations, config)
    next_q = target_action_value(state, batch.next_observations, next_actions, config)
    targets = td_target(batch, next_q, config)
    return fit_critics(state, batch, targets, summed_squared, config)


def actor_step(
    key: Key, state: AWACState, batch: Transition, config: AWACConfig
) -> tuple[AWACState, dict]:
    """-mean(min(exp(beta A), 100) log pi(a | s)), A = Q(s, a) - Q(s, a_pi); eq. 13."""
    own_actions = clipped_sample(key, state, batch.observations, config)
    advantages = action_value(
        state, batch.observations, batch.actions, config
    ) - action_value(state, batch.observations, own_actions, config)
    weights = losses.advantage_weight(advantages, config.beta)

    def loss_fn(params):
        distribution = apply_policy(params, batch.observations, config)
        return -(weights * distribution.log_prob(batch.actions)).mean()

    loss, gradients = jax.value_and_grad(loss_fn)(state.actor)
    actor, optimizer = adam_step(
        gradients, state.actor_optimizer, state.actor, config.learning_rate
    )
    state = state._replace(actor=actor, actor_optimizer=optimizer)
    return state, {"actor/loss": loss, "actor/weight": weights.mean()}


def update(
    key: Key, state: AWACState, batch: Transition, config: AWACConfig
) -> tuple[AWACState, dict]:
    """One update on a batch."""
    key_critic, key_actor = jax.random.split(key)
    state, critic_metrics = critic_step(key_critic, state, batch, config)
    state, actor_metrics = actor_step(key_actor, state, batch, config)
    return target_step(state, config), critic_metrics | actor_metrics


AGENT = Agent(
    init=init,
    update=update,
    act=act,
    policy=policy,
    action_value=action_value,
    state_value=state_value,
    restart=restart,
)
