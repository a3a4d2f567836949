"""Ensemble-diversified actor-critic, arXiv 2110.01548: SAC with N critics, whose
gradients with respect to the action are pushed apart, on a fixed data set.

One update, in the order of RIQL's and CORL's EDAC.py: temperature and actor on one
sample, critics with the new of both, target critics. The authors' code takes all steps
from the state before the update and compares a random few of the critics, as many as
there are action dimensions. The temperature has SAC's loss; its factor T, which all of
their code leaves out, hardly changes a step of Adam.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import struct

from rpex_jax.agents import sac
from rpex_jax.agents.critics import apply_critics, descend, summed_squared, target_step
from rpex_jax.agents.sac import SACConfig, SACState
from rpex_jax.networks import edac_ensemble, edac_policy
from rpex_jax.types import Array, Key, Spec, Transition, static


@struct.dataclass
class EDACConfig(SACConfig):
    """SAC's numbers and EDAC's one."""

    eta: float = 1.0  # weight of the similarity of the critics' gradients
    hidden_dims: tuple[int, ...] = static((256, 256, 256))
    num_critics: int = static(10)
    log_std_min: ClassVar[float] = -5.0


def init(key: Key, spec: Spec, config: EDACConfig) -> SACState:
    """Fresh networks with EDAC's initialisers.

    Raises:
      ValueError: there are fewer than two critics.
    """
    if config.num_critics < 2:
        raise ValueError(
            f"EDAC has num_critics {config.num_critics}; it must be at least 2, whose "
            "gradients differ"
        )
    return sac.init(key, spec, config, edac_ensemble, edac_policy)


def values_and_gradients(
    params: Any, observations: Array, actions: Array, config: EDACConfig
) -> tuple[Array, Array]:
    """Q_k(s, a) and its gradient with respect to a, of every member.

    Args:
      params: of the critics.
      observations: [batch, observation_dim].
      actions: [batch, action_dim].

    Returns:
      [num_critics, batch] and [num_critics, batch, action_dim].
    """
    alone = config.replace(num_critics=1)

    def member(params):
        params = jax.tree.map(lambda x: x[None], params)
        # Rows do not mix, so one pass back from a cotangent of ones gives the gradient
        # of each; it shares the forward pass with the values.
        values, pull_back = jax.vjp(
            lambda a: apply_critics(params, observations, a, alone)[0], actions
        )
        return values, pull_back(jnp.ones_like(values))[0]

    return jax.vmap(member)(params)


def similarity(gradients: Array) -> Array:
    """Mean over the batch of 1/(N-1) sum_{i != j} <g_i, g_j>, g_k of length one.

    N times the mean cosine between two critics, so from -N/(N-1) to N. A gradient of
    zero is similar to none.

    Args:
      gradients: of Q_k with respect to the action, [num_critics, batch, action_dim].

    Source: arXiv 2110.01548, its loss J_ES; the 1e-10 is its code's.
    """
    norms = optax.safe_norm(gradients, 0.0, axis=-1, keepdims=True)
    units = gradients / (norms + 1e-10)
    # sum_{i != j} <g_i, g_j> = |sum_i g_i|^2 - sum_i |g_i|^2
    pairs = jnp.square(units.sum(0)).sum(-1) - jnp.square(units).sum((0, -1))
    return pairs.mean() / (len(gradients) - 1)


def critic_step(
    key: Key, state: SACState, batch: Transition, config: EDACConfig
) -> tuple[SACState, dict]:
    """SAC's loss of the critics + eta times the similarity at the data's actions."""
    targets = sac.soft_target(key, state, batch, config)

    def loss_fn(params):
        q, gradients = values_and_gradients(
            params, batch.observations, batch.actions, config
        )
        similar = similarity(gradients)
        metrics = {"critic/mean": q.mean(), "critic/similarity": similar}
        return summed_squared(targets - q) + config.eta * similar, metrics

    return descend(state, loss_fn, config)


def update(
    key: Key, state: SACState, batch: Transition, config: EDACConfig
) -> tuple[SACState, dict]:
    """One update on a batch."""
    key_actor, key_critic = jax.random.split(key)
    state, actor_metrics = sac.actor_step(key_actor, state, batch.observations, config)
    state, critic_metrics = critic_step(key_critic, state, batch, config)
    return target_step(state, config), actor_metrics | critic_metrics


AGENT = sac.AGENT._replace(init=init, update=update)
