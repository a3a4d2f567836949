"""TD3, arXiv 1802.09477, and with `bc_weight` above 0 TD3+BC, arXiv 2106.06860.

One update, in the order of TD3_BC.py: a critic step for every stacked batch, then, on
the last one, the actor, target critics and target actor. The policy delay is the number
of batches that an update takes. Actions are in [-1, 1], so noise has the papers' unit.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from rpex_jax.agents.critics import (
    action_value,
    apply_critics,
    fit_critics,
    init_critics,
    summed_squared,
    target_action_value,
    target_step,
    td_target,
)
from rpex_jax.distributions import Dirac
from rpex_jax.networks import DeterministicPolicy
from rpex_jax.optimizers import adam_init, adam_step, copied, polyak
from rpex_jax.types import Agent, Array, Key, Spec, Transition, static


@struct.dataclass
class TD3Config:
    """Numbers are leaves and take a run axis; structure is static."""

    learning_rate: float = 3e-4
    discount: float = 0.99
    target_update_rate: float = 0.005
    exploration_noise: float = 0.1  # standard deviation, in what `act` executes
    target_noise: float = 0.2  # of the target action
    target_noise_clip: float = 0.5
    alpha: float = 2.5  # TD3+BC: weight of Q over the mean of |Q|
    bc_weight: float = 0.0  # 1 is TD3+BC, 0 is TD3
    policy_delay: int = static(2)  # batches in an update
    hidden_dims: tuple[int, ...] = static((256, 256))
    num_critics: int = static(2)


class TD3State(NamedTuple):
    """Parameters and optimiser states, in the order they are updated."""

    critic: Any
    critic_optimizer: optax.ScaleByAdamState
    actor: Any
    actor_optimizer: optax.ScaleByAdamState
    target_critic: Any
    target_actor: Any


def init(key: Key, spec: Spec, config: TD3Config) -> TD3State:
    """Fresh networks and optimisers; the targets start as critic and actor."""
    key_critic, key_actor = jax.random.split(key)
    observation = jnp.zeros(spec.observation_dim)
    critic = init_critics(key_critic, spec, config)
    actor = DeterministicPolicy(config.hidden_dims, spec.action_dim).init(
        key_actor, observation
    )
    return TD3State(
        critic=critic,
        critic_optimizer=adam_init(critic),
        actor=actor,
        actor_optimizer=adam_init(actor),
        target_critic=copied(critic),
        target_actor=copied(actor),
    )


def restart(state: TD3State) -> TD3State:
    """The same networks and targets with zero moments.

    This is also the way from TD3+BC to TD3: the online config's `bc_weight` is 0.
    Carrying the targets over avoids a jump in the TD target.
    """
    return state._replace(
        critic_optimizer=adam_init(state.critic),
        actor_optimizer=adam_init(state.actor),
    )


def apply_policy(params: Any, observations: Array, config: TD3Config) -> Array:
    """pi(s) under the given policy parameters."""
    head = params["params"]["MLP_0"][f"Dense_{len(config.hidden_dims)}"]
    network = DeterministicPolicy(config.hidden_dims, head["bias"].shape[-1])
    return network.apply(params, observations)


def policy(state: TD3State, observations: Array, config: TD3Config) -> Dirac:
    """pi(. | s), all of it at one action."""
    return Dirac(apply_policy(state.actor, observations, config))


def state_value(state: TD3State, observations: Array, config: TD3Config) -> Array:
    """min_k Q_k(s, pi(s)): TD3 keeps no V network."""
    action = apply_policy(state.actor, observations, config)
    return action_value(state, observations, action, config)


def act(
    key: Key, state: TD3State, observations: Array, config: TD3Config, *, greedy: bool
) -> Array:
    """pi(s) if `greedy`, else with noise, clipped to [-1, 1]."""
    action = apply_policy(state.actor, observations, config)
    if greedy:
        return action
    noise = config.exploration_noise * jax.random.normal(key, action.shape)
    return jnp.clip(action + noise, -1.0, 1.0)


def critic_step(
    key: Key, state: TD3State, batch: Transition, config: TD3Config
) -> tuple[TD3State, dict]:
    """Sum over critics of mean (Q - y)^2, y with the smoothed target action."""
    noise = config.target_noise * jax.random.normal(key, batch.actions.shape)
    limit = config.target_noise_clip
    next_actions = apply_policy(state.target_actor, batch.next_observations, config)
    next_actions = jnp.clip(next_actions + jnp.clip(noise, -limit, limit), -1.0, 1.0)
    next_q = target_action_value(state, batch.next_observations, next_actions, config)
    targets = td_target(batch, next_q, config)
    return fit_critics(state, batch, targets, summed_squared, config)


def actor_step(
    state: TD3State, batch: Transition, config: TD3Config
) -> tuple[TD3State, dict]:
    """-w mean(Q_1(s, pi(s))) + bc_weight mean((pi(s) - a)^2).

    TD3+BC's w is alpha / mean|Q_1|, without gradient; where `bc_weight` is 0, w is 1.
    """

    first = jax.tree.map(lambda x: x[:1], state.critic)
    alone = config.replace(num_critics=1)

    def loss_fn(params):
        actions = apply_policy(params, batch.observations, config)
        q = apply_critics(first, batch.observations, actions, alone)[0]
        scale = config.alpha / jax.lax.stop_gradient(jnp.abs(q).mean())
        weight = jnp.where(config.bc_weight > 0, scale, 1.0)
        cloning = jnp.square(actions - batch.actions).mean()
        loss = -weight * q.mean() + config.bc_weight * cloning
        return loss, {"actor/loss": loss, "actor/cloning": cloning}

    gradients, metrics = jax.grad(loss_fn, has_aux=True)(state.actor)
    actor, optimizer = adam_step(
        gradients, state.actor_optimizer, state.actor, config.learning_rate
    )
    return state._replace(actor=actor, actor_optimizer=optimizer), metrics


def target_actor_step(state: TD3State, config: TD3Config) -> TD3State:
    """Target actor a share `target_update_rate` closer to the actor."""
    target = polyak(state.actor, state.target_actor, config.target_update_rate)
    return state._replace(target_actor=target)


def update(
    key: Key, state: TD3State, batches: Transition, config: TD3Config
) -> tuple[TD3State, dict]:
    """One update on `policy_delay` batches, stacked on a leading axis."""

    def one_critic_step(state, inputs):
        key, batch = inputs
        return critic_step(key, state, batch, config)

    keys = jax.random.split(key, config.policy_delay)
    state, metrics = jax.lax.scan(one_critic_step, state, (keys, batches))
    last = jax.tree.map(lambda x: x[-1], batches)
    state, actor_metrics = actor_step(state, last, config)
    metrics = jax.tree.map(lambda x: x.mean(0), metrics)
    state = target_actor_step(target_step(state, config), config)
    return state, metrics | actor_metrics


AGENT = Agent(
    init=init,
    update=update,
    act=act,
    policy=policy,
    action_value=action_value,
    state_value=state_value,
    restart=restart,
    batches=lambda config: config.policy_delay,
)
