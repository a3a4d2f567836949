"""A mix of two value functions, as a rival of a set of two policies.

Policy expansion keeps the pretrained policy; this keeps the pretrained critics and V,
frozen, and improves the one policy there is by what both of them say:

    A(s, a) = w (Q_0(s, a) - V_0(s)) + (1 - w) (Q(s, a) - V(s))

where Q and V go on learning, each from its own targets. w = 0 is direct fine-tuning, at
w = 1 the policy is fitted to what pretraining knew. Ours: PEX leaves it open.
"""

from typing import Any, NamedTuple

from flax import struct

from rpex_jax.agents import iql
from rpex_jax.guided import around
from rpex_jax.optimizers import copied
from rpex_jax.types import Agent, Key, Spec, Transition


@struct.dataclass
class ValueMixConfig:
    """How much the pretrained value functions count."""

    base: Any  # IQLConfig or RIQLConfig
    weight: float = 0.5  # w, in [0, 1]


class ValueMixState(NamedTuple):
    """What pretraining knew, and what learns."""

    target_critic: Any  # of Q_0, frozen
    value: Any  # of V_0, frozen
    base: iql.IQLState


def mixed(base: Agent, pretrained: iql.IQLState) -> ValueMixState:
    """The start of fine-tuning: the learner as in direct fine-tuning."""
    return ValueMixState(
        copied(pretrained.target_critic),
        copied(pretrained.value),
        base.restart(pretrained),
    )


def value_mix(base: Agent) -> Agent:
    """The agent that learns as `base` does, but for the advantages of its policy.

    Its config is a `ValueMixConfig`, its state a `ValueMixState`. The advantages of the
    learner are those from before the critics' step, as in its own update.
    """

    def init(key: Key, spec: Spec, config: ValueMixConfig) -> ValueMixState:
        return mixed(base, base.init(key, spec, config.base))

    def update(
        key: Key, state: ValueMixState, batch: Transition, config: ValueMixConfig
    ) -> tuple[ValueMixState, dict]:
        learner, advantages, metrics = base.critic_update(
            state.base, batch, config.base
        )
        frozen = learner._replace(target_critic=state.target_critic, value=state.value)
        known = base.target_action_value(
            frozen, batch.observations, batch.actions, config.base
        ) - base.state_value(frozen, batch.observations, config.base)
        advantages = config.weight * known + (1.0 - config.weight) * advantages
        weights = iql.policy_weight(advantages, config.base)
        learner, actor_metrics = iql.actor_step(
            learner, batch.observations, batch.actions, weights, config.base
        )
        return state._replace(base=learner), metrics | actor_metrics

    return around(base)._replace(init=init, update=update)
