"""Soft actor-critic, arXiv 1812.05905, with a learned temperature.

One update, in the order of d3rlpy's sac_impl.py: critics, temperature, actor with the
new temperature, target critics.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from rpex_jax.agents.critics import (
    action_value,
    fit_critics,
    init_critics,
    summed_squared,
    target_action_value,
    target_step,
    td_target,
)
from rpex_jax.distributions import TanhGaussian
from rpex_jax.networks import LayerInit, TanhGaussianPolicy, torch_linear
from rpex_jax.optimizers import adam_init, adam_step, copied
from rpex_jax.types import Agent, Array, Key, Spec, Transition, static


@struct.dataclass
class SACConfig:
    """Numbers are leaves and take a run axis; structure is static."""

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_update_rate: float = 0.005
    initial_temperature: float = 1.0
    entropy_per_dimension: float = -1.0  # target entropy over action dimension
    hidden_dims: tuple[int, ...] = static((256, 256))
    num_critics: int = static(2)
    log_std_min: ClassVar[float] = -20.0  # of the policy


class SACState(NamedTuple):
    """Parameters and optimiser states, in the order they are updated."""

    critic: Any
    critic_optimizer: optax.ScaleByAdamState
    log_temperature: Array
    temperature_optimizer: optax.ScaleByAdamState
    actor: Any
    actor_optimizer: optax.ScaleByAdamState
    target_critic: Any


def init(
    key: Key,
    spec: Spec,
    config: SACConfig,
    critic_init: LayerInit = torch_linear,
    policy_init: LayerInit = torch_linear,
) -> SACState:
    """Fresh networks and optimisers; the target starts as the critic."""
    key_critic, key_actor = jax.random.split(key)
    observation = jnp.zeros(spec.observation_dim)
    critic = init_critics(key_critic, spec, config, critic_init)
    policy_network = TanhGaussianPolicy(
        config.hidden_dims, spec.action_dim, layer_init=policy_init
    )
    actor = policy_network.init(key_actor, observation)
    log_temperature = jnp.log(jnp.asarray(config.initial_temperature, jnp.float32))
    return SACState(
        critic=critic,
        critic_optimizer=adam_init(critic),
        log_temperature=log_temperature,
        temperature_optimizer=adam_init(log_temperature),
        actor=actor,
        actor_optimizer=adam_init(actor),
        target_critic=copied(critic),
    )


def restart(state: SACState) -> SACState:
    """The same networks and temperature with zero moments."""
    return state._replace(
        critic_optimizer=adam_init(state.critic),
        temperature_optimizer=adam_init(state.log_temperature),
        actor_optimizer=adam_init(state.actor),
    )


def apply_policy(params: Any, observations: Array, config: SACConfig) -> TanhGaussian:
    """pi(. | s) under the given policy parameters."""
    action_dim = params["params"]["mean"]["Dense_0"]["bias"].shape[-1]
    network = TanhGaussianPolicy(config.hidden_dims, action_dim, config.log_std_min)
    return network.apply(params, observations)


def policy(state: SACState, observations: Array, config: SACConfig) -> TanhGaussian:
    """pi(. | s)."""
    return apply_policy(state.actor, observations, config)


def state_value(state: SACState, observations: Array, config: SACConfig) -> Array:
    """min_k Q_k(s, mode of the policy): SAC keeps no V network."""
    mode = policy(state, observations, config).mode()
    return action_value(state, observations, mode, config)


def act(
    key: Key, state: SACState, observations: Array, config: SACConfig, *, greedy: bool
) -> Array:
    """tanh of the mean if `greedy`, else a sample; inside (-1, 1)."""
    distribution = policy(state, observations, config)
    return distribution.mode() if greedy else distribution.sample(key)


def soft_target(
    key: Key, state: SACState, batch: Transition, config: SACConfig
) -> Array:
    """y with the soft value of an action of the policy, equation 3; [batch]."""
    next_policy = policy(state, batch.next_observations, config)
    next_actions, log_prob = next_policy.sample_and_log_prob(key)
    next_q = target_action_value(state, batch.next_observations, next_actions, config)
    soft_value = next_q - jnp.exp(state.log_temperature) * log_prob
    return td_target(batch, soft_value, config)


def critic_step(
    key: Key, state: SACState, batch: Transition, config: SACConfig
) -> tuple[SACState, dict]:
    """Sum over critics of mean (Q - y)^2 with the soft TD target, equation 5."""
    targets = soft_target(key, state, batch, config)
    return fit_critics(state, batch, targets, summed_squared, config)


def temperature_step(
    state: SACState, log_prob: Array, action_dim: int, config: SACConfig
) -> tuple[SACState, dict]:
    """-mean(exp(log T) (log pi + target entropy)), stepped in log T, equation 18."""
    excess = jnp.mean(log_prob + config.entropy_per_dimension * action_dim)
    gradient = -jnp.exp(state.log_temperature) * excess
    log_temperature, optimizer = adam_step(
        gradient,
        state.temperature_optimizer,
        state.log_temperature,
        config.learning_rate,
    )
    state = state._replace(
        log_temperature=log_temperature, temperature_optimizer=optimizer
    )
    return state, {"temperature": jnp.exp(log_temperature)}


def actor_step(
    key: Key,
    state: SACState,
    observations: Array,
    config: SACConfig,
    apply_policy: Callable[..., TanhGaussian] = apply_policy,
    action_value: Callable[..., Array] = action_value,
) -> tuple[SACState, dict]:
    """Temperature first, then mean(T log pi(a | s) - min_k Q_k(s, a)), equation 9.

    Both take the same sample, so the temperature steps inside the loss.

    Args:
      key: of the sample.
      state: what is updated.
      observations: [batch, observation_dim].
      config: of the agent.
      apply_policy: `(parameters, observations, config) -> pi`.
      action_value: `(state, observations, actions, config) -> [batch]`.
    """

    def loss_fn(params):
        distribution = apply_policy(params, observations, config)
        actions, log_prob = distribution.sample_and_log_prob(key)
        q = action_value(state, observations, actions, config)
        heated, metrics = temperature_step(
            state, jax.lax.stop_gradient(log_prob), actions.shape[-1], config
        )
        temperature = jnp.exp(heated.log_temperature)
        metrics["actor/entropy"] = -log_prob.mean()
        return (temperature * log_prob - q).mean(), (heated, metrics)

    (loss, (state, metrics)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
        state.actor
    )
    actor, optimizer = adam_step(
        gradients, state.actor_optimizer, state.actor, config.learning_rate
    )
    state = state._replace(actor=actor, actor_optimizer=optimizer)
    return state, metrics | {"actor/loss": loss}


def update(
    key: Key, state: SACState, batch: Transition, config: SACConfig
) -> tuple[SACState, dict]:
    """One update on a batch."""
    key_critic, key_actor = jax.random.split(key)
    state, critic_metrics = critic_step(key_critic, state, batch, config)
    state, actor_metrics = actor_step(key_actor, state, batch.observations, config)
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
