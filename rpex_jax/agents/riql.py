"""Robust IQL, arXiv 2310.12955: IQL with a quantile over an ensemble of critics and
a Huber loss, in the order of RIQL.py. Observations come normalised.
"""

from functools import partial

import jax.numpy as jnp
from flax import struct

from rpex_jax import losses
from rpex_jax.agents import iql
from rpex_jax.agents.critics import apply_critics, fit_critics, td_target
from rpex_jax.agents.iql import IQLConfig, IQLState
from rpex_jax.networks import CRITIC_INITS
from rpex_jax.types import Array, Key, Spec, Transition, static


@struct.dataclass
class RIQLConfig(IQLConfig):
    """IQL's numbers and RIQL's two; defaults where RPEX has no table row."""

    sigma: float = 3.0  # knee of the Huber loss at 1 / sigma^2
    quantile: float = 0.1  # RIQL alpha, over the ensemble
    num_critics: int = static(5)
    # The released code's first layer is small, so that critics learn what actions do
    # late: some 10 000s of updates on Hopper; "torch" is IQL's.
    critic_init: str = static("edac")


def init(key: Key, spec: Spec, config: RIQLConfig) -> IQLState:
    """Fresh networks, critics by the config's initialiser."""
    return iql.init(key, spec, config, CRITIC_INITS[config.critic_init])


# RIQLDIRECT keeps the pretrained target critics; IQLDIRECT copies the critics.
restart = iql.fresh_optimizers


def action_value(
    state: IQLState, observations: Array, actions: Array, config: RIQLConfig
) -> Array:
    """Quantile over Q_k(s, a)."""
    q = apply_critics(state.critic, observations, actions, config)
    return losses.ensemble_quantile(q, config.quantile)


def target_action_value(
    state: IQLState, observations: Array, actions: Array, config: RIQLConfig
) -> Array:
    """Quantile over the target critics."""
    q = apply_critics(state.target_critic, observations, actions, config)
    return losses.ensemble_quantile(q, config.quantile)


def critic_step(
    state: IQLState, batch: Transition, next_values: Array, config: RIQLConfig
) -> tuple[IQLState, dict]:
    """All critics to the clipped TD target by RIQL's Huber loss."""
    targets = td_target(batch, next_values, config)
    targets = jnp.clip(targets, *losses.RIQL_TARGET_RANGE)
    return fit_critics(
        state,
        batch,
        targets,
        lambda errors: losses.riql_huber_loss(errors, config.sigma).mean(),
        config,
    )


critic_update = partial(
    iql.critic_update, target_action_value=target_action_value, critic_step=critic_step
)
update = partial(iql.update, critic_update=critic_update)

AGENT = iql.AGENT._replace(
    init=init,
    update=update,
    action_value=action_value,
    restart=restart,
    critic_update=critic_update,
    target_action_value=target_action_value,
)
