"""Off2On, arXiv 2107.00591: SAC on top of an ensemble of pessimistic agents.

The members of `agents.cql_ensemble` go on as one agent: one policy, the combination of
theirs, whose parameters all learn; one temperature; and every member's critics, each
with its own targets. No penalty is left: the pessimism is what pretraining put into the
critics. Its batches come from `data.balanced_replay`.

One update takes critics, temperature and actor in SAC's order, the authors' code
(shlee94/Off2OnRL) all from the state before it; its ten times more updates of the first
thousand steps are left out.
"""

import jax
import jax.numpy as jnp

from rpex_jax.agents import cql_ensemble, sac
from rpex_jax.agents.cql_ensemble import (
    CQLEnsembleConfig,
    action_value,
    apply_members,
    apply_policies,
    policy,
)
from rpex_jax.agents.critics import descend, target_step, td_target
from rpex_jax.agents.sac import SACState
from rpex_jax.optimizers import adam_init, copied
from rpex_jax.types import Key, Spec, Transition


def fine_tuned(pretrained: SACState, config: CQLEnsembleConfig) -> SACState:
    """The members' networks; targets are the critics, temperature and moments fresh."""
    log_temperature = jnp.log(jnp.asarray(config.initial_temperature, jnp.float32))
    return SACState(
        critic=pretrained.critic,
        critic_optimizer=adam_init(pretrained.critic),
        log_temperature=log_temperature,
        temperature_optimizer=adam_init(log_temperature),
        actor=pretrained.actor,
        actor_optimizer=adam_init(pretrained.actor),
        target_critic=copied(pretrained.critic),
    )


def init(key: Key, spec: Spec, config: CQLEnsembleConfig) -> SACState:
    """Fresh members, together."""
    return fine_tuned(cql_ensemble.init(key, spec, config), config)


def critic_step(
    key: Key, state: SACState, batch: Transition, config: CQLEnsembleConfig
) -> tuple[SACState, dict]:
    """Sum over all critics of mean (Q - y)^2, y being of the critic's own member."""
    next_policy = policy(state, batch.next_observations, config)
    next_actions, log_prob = next_policy.sample_and_log_prob(key)
    next_q = apply_members(
        state.target_critic, batch.next_observations, next_actions, config
    ).min(1)
    soft_values = next_q - jnp.exp(state.log_temperature) * log_prob
    targets = td_target(batch, soft_values, config)[:, None]

    def loss_fn(params):
        q = apply_members(params, batch.observations, batch.actions, config)
        loss = jnp.square(targets - q).mean(-1).sum()
        return loss, {"critic/mean": q.mean()}

    return descend(state, loss_fn, config)


def update(
    key: Key, state: SACState, batch: Transition, config: CQLEnsembleConfig
) -> tuple[SACState, dict]:
    """One update on a batch."""
    key_critic, key_actor = jax.random.split(key)
    state, critic_metrics = critic_step(key_critic, state, batch, config)
    state, actor_metrics = sac.actor_step(
        key_actor, state, batch.observations, config, apply_policies, action_value
    )
    return target_step(state, config), critic_metrics | actor_metrics


AGENT = cql_ensemble.AGENT._replace(init=init, update=update, restart=sac.restart)
