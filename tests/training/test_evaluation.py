"""Evaluation on environments whose returns are known exactly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.data.buffer import make_buffer
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.envs import Env
from rpex_jax.envs.base import EnvState
from rpex_jax.training import online
from rpex_jax.training.evaluation import make_evaluate
from rpex_jax.types import Spec
from tests import diagnostic
from tests.training.problems import (
    BATCH,
    cut_inside,
    glass_agent,
    make_data,
    make_run,
)

UNIT = ObservationStatistics(jnp.zeros(1), jnp.ones(1))
EYE = glass_agent()


@functools.cache  # so that equal returns are those of one program
def program(agent, env, num_episodes):
    return jax.jit(make_evaluate(agent, env, num_episodes=num_episodes))


def returns(env, agent=EYE, run=None, step=0, statistics=UNIT, num_episodes=8):
    """The returns of one evaluation, compiled as in a sweep."""
    run = jax.tree.map(jnp.asarray, make_run() if run is None else run)
    state = jnp.zeros((), jnp.int32)
    evaluate = program(agent, env, num_episodes)
    return np.asarray(evaluate(state, statistics, run, jnp.int32(step)))


def uneven_episodes() -> Env:
    """Episodes of 1 to 4 steps: 100 times its length at the first step, 1 at each."""

    def reset(key):
        length = jax.random.randint(key, (), 1, 5)
        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        return EnvState(length, jnp.zeros(1), jnp.zeros(()), no, no, zero, no)

    def step(state, action):
        reward = 1.0 + jnp.where(state.time == 0, 100.0 * state.physics, 0.0)
        time = state.time + 1
        # only at its end: what comes after is alive again, and paid
        ended = time == state.physics
        return state._replace(reward=reward, terminated=ended, time=time)

    return Env("uneven", Spec(1, 1), reset, step, time_limit=6)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (diagnostic.constant_reward(), 1.0),
        (diagnostic.constant_reward(terminates=False), 4.0),  # to the time limit
        (cut_inside(diagnostic.constant_reward(terminates=False), 2), 2.0),
        (diagnostic.delayed_reward(), 1.0),
    ],
)
def test_returns_are_sums_over_whole_episodes(env, expected):
    """No discount, no partial episode, one return each."""
    np.testing.assert_array_equal(returns(env, num_episodes=5), np.full(5, expected))


def test_an_ended_episode_counts_no_more():
    """Episodes of different lengths run side by side, each to its own end."""
    found = returns(uneven_episodes(), num_episodes=32)
    lengths = found // 100
    np.testing.assert_array_equal(found, 101 * lengths)
    assert set(lengths) == {1, 2, 3, 4}


def test_acts_greedily():
    """The agent is told to be greedy: with 0.5 the return is 0, with -1 it is -2.25."""

    def action(observations, greedy):
        return jnp.full_like(observations, 0.5 if greedy else -1.0)

    found = returns(diagnostic.action_reward(), glass_agent(action))
    np.testing.assert_array_equal(found, 0.0)


def test_acts_on_standardised_observations():
    """Twice the standardised observation undoes a standard deviation of 2."""
    agent = glass_agent(lambda observations, greedy: 2.0 * observations + 0.25)
    statistics = ObservationStatistics(jnp.full(1, 0.25), jnp.full(1, 2.0))
    found = returns(diagnostic.target_reward(), agent, statistics=statistics)
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


def test_randomness_is_of_the_seed_and_the_step_alone():
    """The same seed and step meet the same episodes, whatever training was told."""
    env = diagnostic.observation_reward()
    first = returns(env)
    other_training = make_run(0, rate=1.0, corrupt_again=3)
    np.testing.assert_array_equal(first, returns(env, run=other_training))
    assert len(np.unique(first)) == len(first)  # each episode its own reset
    for other in (returns(env, run=make_run(1)), returns(env, step=1)):
        assert not np.isin(first, other).any()


def test_episodes_are_not_those_of_training():
    """No evaluated reset is one that the same seed's training met."""
    env, agent = diagnostic.observation_reward(), glass_agent()
    buffer = make_buffer(64, BATCH)
    run = jax.tree.map(jnp.asarray, make_run(online_elements=()))
    state = online.start(jnp.zeros((), jnp.int32), env, buffer, run)
    collect = online.make_chunk(
        agent, env, buffer, num_steps=64, updates_per_step=0, num_offline=0
    )
    state, _ = jax.jit(collect)(state, UNIT, run, make_data(1, 1))
    met = np.asarray(state.buffer.data.observations)
    assert len(np.unique(met)) == 64
    assert not np.isin(returns(env, num_episodes=32), met).any()
