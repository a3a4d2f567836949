"""Implicit Q-learning, arXiv 2110.06169, in the order of PEX pex/algorithms/iql.py.

One update: V to the expectile of the target Q; Q to r + gamma V(s') with the V from
before its step; target Q; policy by advantage-weighted regression with the advantage
from before all of them. RIQL and the policy sets of PEX and RPEX reuse the steps.
"""

from collections.abc import Callable
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
    mean_squared,
    target_action_value,
    target_step,
    td_target,
)
from rpex_jax.distributions import DiagonalGaussian
from rpex_jax.networks import GaussianPolicy, LayerInit, Value, torch_linear
from rpex_jax.optimizers import adam_init, adam_step, copied, cosine
from rpex_jax.types import Agent, Array, Key, Spec, Transition, static


@struct.dataclass
class IQLConfig:
    """Numbers are leaves and take a run axis; structure is static."""

    learning_rate: float = 3e-4
    discount: float = 0.99
    expectile: float = 0.7  # IQL tau
    beta: float = 3.0  # inverse temperature of the advantage weight
    target_update_rate: float = 0.005
    actor_decay_steps: float = float("inf")  # cosine to 0 over so many updates
    align: float = 0.0  # policy weight: 0 AWR, 1 AlignIQL, between them a mixture
    eta: float = 3.0  # AlignIQL's exp(-eta A^2)
    hidden_dims: tuple[int, ...] = static((256, 256))
    num_critics: int = static(2)


class IQLState(NamedTuple):
    """Parameters and optimiser states, in the order they are updated."""

    value: Any
    value_optimizer: optax.ScaleByAdamState
    critic: Any
    critic_optimizer: optax.ScaleByAdamState
    target_critic: Any
    actor: Any
    actor_optimizer: optax.ScaleByAdamState


def init(
    key: Key, spec: Spec, config: IQLConfig, critic_init: LayerInit = torch_linear
) -> IQLState:
    """Fresh networks and optimisers; the target starts as the critic."""
    key_value, key_critic, key_actor = jax.random.split(key, 3)
    observation = jnp.zeros(spec.observation_dim)
    value = Value(config.hidden_dims).init(key_value, observation)
    critic = init_critics(key_critic, spec, config, critic_init)
    policy_network = GaussianPolicy(config.hidden_dims, spec.action_dim)
    actor = policy_network.init(key_actor, observation)
    return IQLState(
        value=value,
        value_optimizer=adam_init(value),
        critic=critic,
        critic_optimizer=adam_init(critic),
        target_critic=copied(critic),
        actor=actor,
        actor_optimizer=adam_init(actor),
    )


def restart(state: IQLState) -> IQLState:
    """The start of direct fine-tuning: fresh optimisers, target := critic.

    Source: IQLDIRECT of PEX and RPEX.
    """
    return fresh_optimizers(state)._replace(target_critic=copied(state.critic))


def fresh_optimizers(state: IQLState) -> IQLState:
    """The same networks with zero moments; online phases never inherit them."""
    return state._replace(
        value_optimizer=adam_init(state.value),
        critic_optimizer=adam_init(state.critic),
        actor_optimizer=adam_init(state.actor),
    )


def apply_policy(params: Any, observations: Array, config: IQLConfig):
    """pi(. | s) under the given policy parameters."""
    action_dim = params["params"]["log_std"].shape[-1]
    return GaussianPolicy(config.hidden_dims, action_dim).apply(params, observations)


def apply_value(params: Any, observations: Array, config: IQLConfig) -> Array:
    """V(s) under the given value parameters."""
    return Value(config.hidden_dims).apply(params, observations)


def policy(state: IQLState, observations: Array, config: IQLConfig) -> DiagonalGaussian:
    """pi(. | s)."""
    return apply_policy(state.actor, observations, config)


def state_value(state: IQLState, observations: Array, config: IQLConfig) -> Array:
    """V(s)."""
    return apply_value(state.value, observations, config)


def act(
    key: Key, state: IQLState, observations: Array, config: IQLConfig, *, greedy: bool
) -> Array:
    """The policy's mean if `greedy`, else a sample, which is not clipped."""
    distribution = policy(state, observations, config)
    return distribution.mode() if greedy else distribution.sample(key)


def policy_weight(advantages: Array, config: IQLConfig) -> Array:
    """Weight of log pi(a | s): min(exp(beta A), 100), or AlignIQL's exp(-eta A^2)."""
    awr = losses.advantage_weight(advantages, config.beta)
    align = losses.align_weight(advantages, config.eta)
    return (1.0 - config.align) * awr + config.align * align


def value_step(
    state: IQLState, observations: Array, target_q: Array, config: IQLConfig
) -> tuple[IQLState, Array, dict]:
    """V(s) to the expectile of the target action values [batch]; IQL equation 5.

    Also returns the advantages target_q - V(s) from before the step, [batch].
    """

    def loss_fn(params):
        v = apply_value(params, observations, config)
        return losses.expectile_loss(target_q - v, config.expectile).mean(), v

    (loss, v), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.value)
    value, optimizer = adam_step(
        gradients, state.value_optimizer, state.value, config.learning_rate
    )
    state = state._replace(value=value, value_optimizer=optimizer)
    return state, target_q - v, {"value/loss": loss, "value/mean": v.mean()}


def critic_step(
    state: IQLState, batch: Transition, next_values: Array, config: IQLConfig
) -> tuple[IQLState, dict]:
    """All critics to the TD target by mean squared error; IQL equation 6."""
    targets = td_target(batch, next_values, config)
    return fit_critics(state, batch, targets, mean_squared, config)


def actor_step(
    state: IQLState,
    observations: Array,
    actions: Array,
    weights: Array,
    config: IQLConfig,
    *,
    apply_policy: Callable = apply_policy,
) -> tuple[IQLState, dict]:
    """Weighted regression -mean(w log pi(a | s)); IQL equation 7.

    A policy of another kind passes its own `apply_policy`.
    """

    def loss_fn(params):
        distribution = apply_policy(params, observations, config)
        return -(weights * distribution.log_prob(actions)).mean()

    loss, gradients = jax.value_and_grad(loss_fn)(state.actor)
    rate = config.learning_rate * cosine(
        state.actor_optimizer.count, config.actor_decay_steps
    )
    actor, optimizer = adam_step(gradients, state.actor_optimizer, state.actor, rate)
    state = state._replace(actor=actor, actor_optimizer=optimizer)
    return state, {"actor/loss": loss, "actor/weight": weights.mean()}


def critic_update(
    state: IQLState,
    batch: Transition,
    config: IQLConfig,
    *,
    target_action_value: Callable = target_action_value,
    critic_step: Callable = critic_step,
) -> tuple[IQLState, Array, dict]:
    """The steps of V, Q and target; also the advantages from before them, [batch].

    RIQL passes its own target action value and critic step.
    """
    target_q = target_action_value(state, batch.observations, batch.actions, config)
    next_values = state_value(state, batch.next_observations, config)
    state, advantages, value_metrics = value_step(
        state, batch.observations, target_q, config
    )
    state, critic_metrics = critic_step(state, batch, next_values, config)
    return target_step(state, config), advantages, value_metrics | critic_metrics


def update(
    key: Key,
    state: IQLState,
    batch: Transition,
    config: IQLConfig,
    *,
    critic_update: Callable = critic_update,
) -> tuple[IQLState, dict]:
    """One update on a batch; the IQL family draws nothing, so `key` is not used."""
    del key
    state, advantages, metrics = critic_update(state, batch, config)
    weights = policy_weight(advantages, config)
    state, actor_metrics = actor_step(
        state, batch.observations, batch.actions, weights, config
    )
    return state, metrics | actor_metrics


AGENT = Agent(
    init=init,
    update=update,
    act=act,
    policy=policy,
    action_value=action_value,
    state_value=state_value,
    restart=restart,
    critic_update=critic_update,
    target_action_value=target_action_value,
)
