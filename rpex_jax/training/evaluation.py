"""Evaluation: whole episodes in clean environments, each return kept."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rpex_jax.data.statistics import ObservationStatistics, standardise
from rpex_jax.envs import Env
from rpex_jax.training.run import RunConfig, stream
from rpex_jax.types import Agent, Array


def make_evaluate(agent: Agent, env: Env, *, num_episodes: int) -> Callable:
    """`evaluate(agent_state, statistics, run, step) -> returns [num_episodes]`.

    The agent acts greedily from fresh resets. The randomness depends on the run's seed
    and on `step`, and on nothing that training uses. All episodes run side by side and
    stop together when the last one has ended.
    """

    def evaluate(
        agent_state, statistics: ObservationStatistics, run: RunConfig, step: Array
    ) -> Array:
        key = jax.random.fold_in(stream(run, "evaluation"), step)
        key_reset, key_act = jax.random.split(key)

        def still_running(carry):
            _, alive, _, time = carry
            return alive.any() & (time < env.time_limit)

        def one_step(carry):
            states, alive, returns, time = carry
            actions = agent.act(
                jax.random.fold_in(key_act, time),
                agent_state,
                standardise(states.observation, statistics),
                run.agent,
                greedy=True,
            )
            states = jax.vmap(env.step)(states, actions)
            returns = returns + jnp.where(alive, states.reward, 0.0)
            alive &= ~(states.terminated | states.truncated)
            return states, alive, returns, time + 1

        states = jax.vmap(env.reset)(jax.random.split(key_reset, num_episodes))
        alive = jnp.ones(num_episodes, bool)
        returns = jnp.zeros(num_episodes)
        _, _, returns, _ = jax.lax.while_loop(
            still_running, one_step, (states, alive, returns, 0)
        )
        return returns

    return evaluate
