"""The attack: the perturbation that hurts a policy most, by differential evolution.

Source: arXiv 2510.13358, section 4.2; the search's settings are our choice.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.attacks import differential_evolution
from rpex_jax.attacks.differential_evolution import DESettings, DEState
from rpex_jax.attacks.perturbation import Fault, perturbed, with_fault
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.envs import Env
from rpex_jax.training.evaluation import episode_returns, greedy
from rpex_jax.training.run import check_counts
from rpex_jax.types import Agent, Array, Key


class Search(NamedTuple):
    """K independent searches against one policy, side by side.

    `start(key, agent_state, statistics, config, bound) -> DEState`, with a leading axis
    of searches, and `generation(number, searches, key, agent_state, statistics, config,
    bound) -> DEState`, with the same key every time.
    """

    start: Callable[..., DEState]
    generation: Callable[..., DEState]


def best(searches: DEState) -> tuple[Array, Array]:
    """The best member of each search, [K, action_dim], and its mean return, [K]."""
    rows = jnp.arange(len(searches.fitness)), searches.fitness.argmin(-1)
    return searches.population[rows], searches.fitness[rows]


def mean_returns(
    agent: Agent,
    env: Env,
    agent_state: Any,
    statistics: ObservationStatistics,
    config: Any,
    key: Key,
    num_episodes: int,
    deltas: Array,
) -> Array:
    """Mean return of the greedy policy under each perturbation, [n].

    Args:
      key: of the resets, which are the same for all perturbations.
      num_episodes: for each perturbation.
      deltas: [n, action_dim].
    """
    key_reset, key_act = jax.random.split(key)
    states = jax.vmap(env.reset)(jax.random.split(key_reset, num_episodes))

    def under(delta):
        fault = Fault(jnp.ones(()), delta)
        return jax.vmap(with_fault, in_axes=(0, None))(states, fault)

    faulty = jax.vmap(under)(deltas)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), faulty)
    act = greedy(agent, agent_state, statistics, config, key_act)
    returns = episode_returns(perturbed(env), flat, act)
    return returns.reshape(len(deltas), num_episodes).mean(1)


def make_search(
    agent: Agent,
    env: Env,
    settings: DESettings,
    *,
    num_searches: int,
    num_episodes: int,
) -> Search:
    """The search for the perturbation in [-bound, bound] with the lowest mean return.

    Each search has resets of its own, the same for all its members and generations, so
    that parents and trials compare. A generation of all searches is one batch of
    episodes.

    Args:
      agent: whose policy is attacked, greedily.
      env: where.
      settings: of differential evolution; its number of generations is the caller's.
      num_searches: K.
      num_episodes: whose mean return is a perturbation's fitness.

    Raises:
      ValueError: no search, or no episode.
    """
    check_counts(num_searches=num_searches, num_episodes=num_episodes)

    def fitness_of(key, agent_state, statistics, config):
        return partial(
            mean_returns,
            agent,
            env,
            agent_state,
            statistics,
            config,
            jax.random.fold_in(key, 1),
            num_episodes,
        )

    def box(bound):
        high = jnp.full(env.spec.action_dim, bound, jnp.float32)
        return -high, high

    def start(key, *policy_and_bound):
        *policy, bound = policy_and_bound

        def one(key):
            evaluate = fitness_of(key, *policy)
            key_start = jax.random.fold_in(key, 0)
            return differential_evolution.init(
                key_start, evaluate, *box(bound), settings
            )

        return jax.vmap(one)(jax.random.split(key, num_searches))

    def generation(number, searches, key, *policy_and_bound):
        *policy, bound = policy_and_bound

        def one(key, search):
            evaluate = fitness_of(key, *policy)
            key_step = jax.random.fold_in(key, 2 + number)
            return differential_evolution.step(
                key_step, search, evaluate, *box(bound), settings
            )

        return jax.vmap(one)(jax.random.split(key, num_searches), searches)

    return Search(start, generation)
