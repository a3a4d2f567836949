"""The critic ensemble that every agent has: queries, the TD target, its steps.

A state has `critic`, `critic_optimizer` and `target_critic`; a config `learning_rate`,
`discount`, `target_update_rate`, `hidden_dims` and `num_critics`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rpex_jax.networks import CriticEnsemble, LayerInit, torch_linear
from rpex_jax.optimizers import adam_step, polyak
from rpex_jax.types import Agent, Array, Key, Spec, Transition


def init_critics(
    key: Key, spec: Spec, config: Any, layer_init: LayerInit = torch_linear
) -> Any:
    """Fresh parameters of the ensemble."""
    network = CriticEnsemble(config.hidden_dims, config.num_critics, layer_init)
    return network.init(
        key, jnp.zeros(spec.observation_dim), jnp.zeros(spec.action_dim)
    )


def apply_critics(
    params: Any, observations: Array, actions: Array, config: Any
) -> Array:
    """Q_k(s, a) of every member, [num_critics, ...]."""
    network = CriticEnsemble(config.hidden_dims, config.num_critics, torch_linear)
    return network.apply(params, observations, actions)


def action_value(state: Any, observations: Array, actions: Array, config: Any) -> Array:
    """min_k Q_k(s, a)."""
    return apply_critics(state.critic, observations, actions, config).min(0)


def first_action_value(
    agent: Agent, state: Any, observations: Array, actions: Array, config: Any
) -> Array:
    """Q_1(s, a): what attacks on actions descend on."""
    first = jax.tree.map(lambda x: x[:1], state.critic)
    state, alone = state._replace(critic=first), config.replace(num_critics=1)
    return agent.action_value(state, observations, actions, alone)


def target_action_value(
    state: Any, observations: Array, actions: Array, config: Any
) -> Array:
    """min_k of the target critics."""
    return apply_critics(state.target_critic, observations, actions, config).min(0)


def td_target(batch: Transition, next_values: Array, config: Any) -> Array:
    """y = r + gamma (1 - d) V(s')."""
    return batch.rewards + config.discount * (1.0 - batch.terminations) * next_values


def mean_squared(errors: Array) -> Array:
    """Mean over critics and batch, of errors [num_critics, batch]; as IQL."""
    return jnp.square(errors).mean()


def summed_squared(errors: Array) -> Array:
    """Sum over critics of the means over the batch; as TD3, SAC and AWAC."""
    return jnp.square(errors).mean(-1).sum()


def fit_critics(
    state: Any,
    batch: Transition,
    targets: Array,
    loss_of_errors: Callable[[Array], Array],
    config: Any,
) -> tuple[Any, dict]:
    """One step on `loss_of_errors(y - Q_k)`, errors [num_critics, batch]."""

    def loss_fn(params):
        q = apply_critics(params, batch.observations, batch.actions, config)
        return loss_of_errors(targets - q), {"critic/mean": q.mean()}

    return descend(state, loss_fn, config)


def descend(
    state: Any, loss_fn: Callable[[Any], tuple[Array, dict]], config: Any
) -> tuple[Any, dict]:
    """One step of the critics on `loss_fn(params) -> (loss, metrics)`."""
    (loss, metrics), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.critic)
    critic, optimizer = adam_step(
        gradients, state.critic_optimizer, state.critic, config.learning_rate
    )
    state = state._replace(critic=critic, critic_optimizer=optimizer)
    return state, {"critic/loss": loss} | metrics


def target_step(state: Any, config: Any) -> Any:
    """Target critics a share `target_update_rate` closer to the critics."""
    target = polyak(state.critic, state.target_critic, config.target_update_rate)
    return state._replace(target_critic=target)
