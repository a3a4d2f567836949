"""A learner that begins afresh beside a frozen pretrained policy that acts for it.

JSRL and Behavior Transfer are two ways for the frozen policy to act. A state has the
learner's as `base` and the frozen policy's parameters as `pretrained`; a config has the
learner's as `base`.
"""

from typing import Any

import jax

from rpex_jax.types import Agent, Array, Key, Spec, Transition


def around(base: Agent) -> Agent:
    """The learner `base` as an agent whose states and configs hold its own.

    It learns, answers and acts as the learner alone does; `init` is left to the caller.
    """

    def update(
        key: Key, state: Any, batch: Transition, config: Any
    ) -> tuple[Any, dict]:
        learner, metrics = base.update(key, state.base, batch, config.base)
        return state._replace(base=learner), metrics

    def act(
        key: Key, state: Any, observations: Array, config: Any, *, greedy: bool
    ) -> Array:
        return base.act(key, state.base, observations, config.base, greedy=greedy)

    return Agent(
        init=None,
        update=update,
        act=act,
        policy=lambda state, observations, config: base.policy(
            state.base, observations, config.base
        ),
        action_value=lambda state, observations, actions, config: base.action_value(
            state.base, observations, actions, config.base
        ),
        state_value=lambda state, observations, config: base.state_value(
            state.base, observations, config.base
        ),
        restart=lambda state: state._replace(base=base.restart(state.base)),
        batches=base.batches and (lambda config: base.batches(config.base)),
    )


def pretrained_action(
    base: Agent, key: Key, state: Any, observations: Array, config: Any
) -> Array:
    """What the frozen policy does, greedily: our choice for both methods."""
    frozen = state.base._replace(actor=state.pretrained)
    return base.act(key, frozen, observations, config.base, greedy=True)


def fresh_pair(base: Agent, key: Key, spec: Spec, config: Any) -> tuple[Any, Any]:
    """Parameters of a policy and a learner, both drawn afresh."""
    key_policy, key_learner = jax.random.split(key)
    policy = base.init(key_policy, spec, config.base).actor
    return policy, base.init(key_learner, spec, config.base)
