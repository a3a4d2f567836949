"""Evaluation where actions are perturbed: normal, random, adversarial, PGD.

Attacks are made against the pretrained policy and critic, not against those under test
(but for the action of `pgd-own`), and every episode is hit.

Source: arXiv 2510.13358, section 5.1 and appendix E.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.agents.critics import first_action_value
from rpex_jax.attacks.perturbation import (
    Fault,
    PGDSettings,
    perturbed,
    pgd,
    uniform_deltas,
    with_fault,
)
from rpex_jax.data.statistics import ObservationStatistics, standardise
from rpex_jax.envs import Env
from rpex_jax.training.evaluation import episode_returns, greedy
from rpex_jax.training.run import RunConfig, check_counts, stream
from rpex_jax.types import Agent, Array

# "pgd-own" is "pgd" at the action of the policy under test: which of the two the source
# means is lost.
CONDITIONS = ("normal", "random", "adversarial", "pgd", "pgd-own")
ON_CRITIC = CONDITIONS[3:]  # descend on the pretrained critic


class Attacked(NamedTuple):
    """What the evaluation of one run is attacked with."""

    bound: Array  # [], epsilon
    members: Array  # [K, action_dim], found afresh: training has not seen them
    policy: Any  # state of the pretrained agent
    config: Any  # its config
    pgd: PGDSettings | None = None  # where the condition is one of `ON_CRITIC`


def make_evaluate_under(
    condition: str,
    agent: Agent,
    env: Env,
    *,
    num_episodes: int,
    pretrained: Agent | None = None,
) -> Callable:
    """`evaluate(agent_state, statistics, run, step, attacked) -> returns [episodes]`.

    Every condition begins with the same resets. Episode i of `adversarial` meets member
    i mod K; `pgd` descends on the pretrained critic at the pretrained policy's action,
    `pgd-own` on the same at the action of the policy that is evaluated.

    Args:
      condition: one of `CONDITIONS`.
      agent: whose policy is evaluated, greedily.
      env: where.
      num_episodes: side by side.
      pretrained: the agent of `attacked.policy`; for `ON_CRITIC`.

    Raises:
      ValueError: unknown condition, or no episode.
    """
    check_counts(num_episodes=num_episodes)
    if condition not in CONDITIONS:
        raise ValueError(
            f"unknown condition {condition!r}; allowed are {', '.join(CONDITIONS)}"
        )

    def evaluate(
        agent_state,
        statistics: ObservationStatistics,
        run: RunConfig,
        step: Array,
        attacked: Attacked,
    ) -> Array:
        key = jax.random.fold_in(stream(run, "evaluation"), step)
        key_reset, key_act = jax.random.split(key)
        states = jax.vmap(env.reset)(jax.random.split(key_reset, num_episodes))
        act = greedy(agent, agent_state, statistics, run.agent, key_act)
        if condition == "normal":
            return episode_returns(env, states, act)

        if condition in ON_CRITIC and attacked.pgd is None:
            raise ValueError(f"attacked.pgd is None; {condition!r} needs its settings")

        def attack(observation, action):
            seen = standardise(observation, statistics)
            policy, config = attacked.policy, attacked.config
            if condition == "pgd":
                action = pretrained.act(key_act, policy, seen, config, greedy=True)

            def value(executed):
                return first_action_value(pretrained, policy, seen, executed, config)

            return pgd(value, action, attacked.bound, attacked.pgd)

        if condition == "random":
            shape = num_episodes, env.spec.action_dim
            key_delta = stream(run, "attack")
            deltas = uniform_deltas(
                jax.random.fold_in(key_delta, step), shape, attacked.bound
            )
        elif condition == "adversarial":
            order = jnp.arange(num_episodes) % len(attacked.members)
            deltas = attacked.members[order]
        else:
            deltas = jnp.zeros((num_episodes, env.spec.action_dim))
        faults = Fault(jnp.ones(num_episodes), deltas)
        world = perturbed(env, attack=attack if condition in ON_CRITIC else None)
        return episode_returns(world, jax.vmap(with_fault)(states, faults), act)

    return evaluate
