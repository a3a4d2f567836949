"""Evaluation: whole episodes in clean environments, each return kept."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rpex_jax.data.statistics import ObservationStatistics, standardise
from rpex_jax.envs import Env, EnvState
from rpex_jax.training.run import RunConfig, check_counts, stream
from rpex_jax.types import Agent, Array


def episode_returns(
    env: Env, states: EnvState, act: Callable[[Array, Array], Array]
) -> Array:
    """Returns of one episode from each state, [n].

    All episodes run side by side and stop together when the last one has ended.

    Args:
      env: where.
      states: of fresh resets, [n, ...].
      act: (time [], raw observations [n, observation_dim]) -> actions.
    """

    def still_running(carry):
        _, alive, _, time = carry
        return alive.any() & (time < env.time_limit)

    def one_step(carry):
        states, alive, returns, time = carry
        states = jax.vmap(env.step)(states, act(time, states.observation))
        returns = returns + jnp.where(alive, states.reward, 0.0)
        alive &= ~(states.terminated | states.truncated)
        states = states._replace(physics=_only_where(alive, states.physics))
        return states, alive, returns, time + 1

    num_episodes = len(states.reward)
    start = states, jnp.ones(num_episodes, bool), jnp.zeros(num_episodes), 0
    _, _, returns, _ = jax.lax.while_loop(still_running, one_step, start)
    return returns


def _only_where(alive: Array, physics: Any) -> Any:
    """NaN for episodes that have ended: the host engine does not simulate those."""

    def blank(x):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return jnp.where(alive.reshape(-1, *[1] * (x.ndim - 1)), x, jnp.nan)

    return jax.tree.map(blank, physics)


def greedy(agent: Agent, agent_state, statistics, config, key) -> Callable:
    """`act` of `episode_returns`: the agent, greedily."""
    return lambda time, observations: agent.act(
        jax.random.fold_in(key, time),
        agent_state,
        standardise(observations, statistics),
        config,
        greedy=True,
    )


def make_evaluate(
    agent: Agent, env: Env, *, num_episodes: int, purpose: str = "evaluation"
) -> Callable:
    """`evaluate(agent_state, statistics, run, step) -> returns [num_episodes]`.

    The agent acts greedily from fresh resets. The randomness depends on the run's seed,
    on `step` and on `purpose`, one of `run.STREAMS`, and on nothing that training uses.

    Raises:
      ValueError: there is no episode.
    """
    check_counts(num_episodes=num_episodes)

    def evaluate(
        agent_state, statistics: ObservationStatistics, run: RunConfig, step: Array
    ) -> Array:
        key = jax.random.fold_in(stream(run, purpose), step)
        key_reset, key_act = jax.random.split(key)
        states = jax.vmap(env.reset)(jax.random.split(key_reset, num_episodes))
        act = greedy(agent, agent_state, statistics, run.agent, key_act)
        return episode_returns(env, states, act)

    return evaluate
