"""The world of a run whose actions are perturbed, and what its curriculum sees.

Source: arXiv 2510.13358, algorithms 1 to 5.
"""

from typing import Any

from rpex_jax.agents.critics import first_action_value
from rpex_jax.attacks import curriculum
from rpex_jax.attacks.perturbation import Attack, draw_fault, perturbed, pgd
from rpex_jax.data.statistics import ObservationStatistics, standardise
from rpex_jax.envs import Env
from rpex_jax.training.evaluation import make_evaluate
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Agent, Array


def perturbed_env(
    env: Env, run: RunConfig, q: Array, attack: Attack | None = None
) -> Env:
    """The environment whose episodes are hit with probability q, as the run says."""
    return perturbed(env, lambda key: draw_fault(key, q, run.perturbation), attack)


def critic_attack(
    agent: Agent, agent_state: Any, statistics: ObservationStatistics, run: RunConfig
) -> Attack | None:
    """PGD on the first critic of the agent that acts, if the run asks for it."""
    bound, settings = run.perturbation.bound, run.perturbation.pgd
    if settings is None:
        return None

    def attack(observation: Array, action: Array) -> Array:
        seen = standardise(observation, statistics)

        def value(executed):
            return first_action_value(agent, agent_state, seen, executed, run.agent)

        return pgd(value, action, bound, settings)

    return attack


def curriculum_score(
    agent: Agent,
    env: Env,
    state: Any,
    statistics: ObservationStatistics,
    run: RunConfig,
    num_episodes: int,
) -> Array:
    """R of the curriculum: whole episodes, greedy, perturbed as its condition says.

    Source: arXiv 2510.13358, algorithm 4; episodes and condition are our choice.
    """
    of_run = run.perturbation.curriculum
    q = curriculum.evaluation_probability(state.curriculum.q, of_run)
    attack = critic_attack(agent, state.agent, statistics, run)
    evaluate = make_evaluate(
        agent,
        perturbed_env(env, run, q, attack),
        num_episodes=num_episodes,
        purpose="curriculum",
    )
    returns = evaluate(state.agent, statistics, run, state.step)
    return curriculum.score_of(returns.mean(), of_run)


def first_score(
    agent: Agent,
    env: Env,
    state: Any,
    statistics: ObservationStatistics,
    run: RunConfig,
    num_episodes: int,
) -> Any:
    """The state with R~_0, the score of the policy that training starts from."""
    score = curriculum_score(agent, env, state, statistics, run, num_episodes)
    return state._replace(curriculum=curriculum.first_score(state.curriculum, score))
