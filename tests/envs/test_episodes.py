"""Time limit, reset and the transitions that come of them."""

import resource
import time
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import envs
from rpex_jax.envs import episodes
from rpex_jax.types import Transition
from tests import diagnostic

HOPPER, CHEETAH = envs.make("Hopper-v4"), envs.make("HalfCheetah-v4")


def at_time(state, steps):
    return state._replace(env=state.env._replace(time=jnp.int32(steps)))


def leaning(state):
    """A Hopper past the pitch at which the next step ends the task."""
    physics = state.env.physics
    physics = physics._replace(qpos=physics.qpos.at[2].set(0.25))
    return state._replace(env=state.env._replace(physics=physics))


def test_a_step_inside_an_episode():
    key_reset, key = jax.random.split(jax.random.key(0))
    state = episodes.reset(key_reset, HOPPER)
    action = jnp.array([0.5, -2.0, 3.0])
    after, transition, episode = episodes.step(key, HOPPER, state, action)
    plain = HOPPER.step(state.env, action)
    chex.assert_trees_all_equal(after.env, plain)
    assert isinstance(transition, Transition)
    np.testing.assert_array_equal(transition.observations, state.env.observation)
    np.testing.assert_array_equal(transition.actions, action)  # not clipped
    np.testing.assert_array_equal(transition.next_observations, plain.observation)
    assert transition.rewards == plain.reward == after.episode_return
    assert transition.terminations == 0 and transition.terminations.dtype == jnp.float32
    assert not episode.ended and episode.length == 1 and not episode.failed


def test_the_end_of_the_task():
    key_reset, key = jax.random.split(jax.random.key(0))
    state = leaning(at_time(episodes.reset(key_reset, HOPPER), 5))
    state = state._replace(episode_return=jnp.float32(7.0))
    after, transition, episode = episodes.step(key, HOPPER, state, jnp.zeros(3))
    truth = HOPPER.step(state.env, jnp.zeros(3))
    assert transition.terminations == 1
    # The true last observation, not the first of the next episode.
    np.testing.assert_array_equal(transition.next_observations, truth.observation)
    chex.assert_trees_all_equal(after, episodes.reset(key, HOPPER))
    assert episode.ended and episode.length == 6 and not episode.failed
    assert episode.episode_return == 7 + truth.reward
    assert after.episode_return == 0 and after.env.time == 0


def test_the_time_limit_is_no_termination():
    key_reset, key = jax.random.split(jax.random.key(0))
    state = at_time(episodes.reset(key_reset, CHEETAH), 998)
    state, transition, episode = episodes.step(key, CHEETAH, state, jnp.zeros(6))
    assert not episode.ended and state.env.time == 999
    truth = CHEETAH.step(state.env, jnp.zeros(6))
    state, transition, episode = episodes.step(key, CHEETAH, state, jnp.zeros(6))
    assert episode.ended and episode.length == 1000
    assert transition.terminations == 0
    np.testing.assert_array_equal(transition.next_observations, truth.observation)
    assert state.env.time == 0


def test_a_fall_on_the_last_step_is_a_termination():
    state = leaning(at_time(episodes.reset(jax.random.key(0), HOPPER), 999))
    _, transition, episode = episodes.step(
        jax.random.key(1), HOPPER, state, jnp.zeros(3)
    )
    assert transition.terminations == 1 and episode.length == 1000


def test_nothing_that_is_not_finite_gets_out():
    state = episodes.reset(jax.random.key(0), CHEETAH)
    action = jnp.array([jnp.nan, 0.3, jnp.inf, 0.0, 0.0, 0.0])
    after, transition, episode = episodes.step(
        jax.random.key(1), CHEETAH, state, action
    )
    chex.assert_tree_all_finite((after, transition, episode))
    assert episode.failed and episode.ended and transition.terminations == 1
    np.testing.assert_array_equal(
        transition.actions, jnp.array([0, 0.3, 0, 0, 0, 0], jnp.float32)
    )


def roll(env, count, steps, key):
    """Random actions in `count` environments: transitions and episodes, [steps, n]."""
    key_reset, key = jax.random.split(key)
    step = jax.vmap(lambda key, state, action: episodes.step(key, env, state, action))

    def body(state, key):
        key_action, key_step = jax.random.split(key)
        shape = (count, env.spec.action_dim)
        actions = jax.random.uniform(key_action, shape, minval=-1.0, maxval=1.0)
        state, *out = step(jax.random.split(key_step, count), state, actions)
        return state, out

    keys = jax.random.split(key_reset, count)
    state = jax.vmap(partial(episodes.reset, env=env))(keys)
    return jax.lax.scan(body, state, jax.random.split(key, steps))


def test_a_batch_of_many_episodes():
    with jax.debug_key_reuse(True):
        state, (transition, episode) = jax.jit(partial(roll, HOPPER, 5, 200))(
            jax.random.key(0)
        )
    chex.assert_tree_all_finite((state, transition))
    ended = np.asarray(episode.ended)
    assert (ended.sum(axis=0) >= 2).all()
    np.testing.assert_array_equal(transition.terminations, ended)
    joined = (transition.next_observations[:-1] == transition.observations[1:]).all(
        axis=-1
    )
    np.testing.assert_array_equal(joined, ~ended[:-1])
    rewards = np.asarray(transition.rewards, np.float64)
    for i in range(5):
        ends = np.flatnonzero(ended[:, i])
        begins = np.concatenate([[0], ends[:-1] + 1])
        for begin, end in zip(begins, ends, strict=True):
            assert episode.length[end, i] == end - begin + 1
            total = rewards[begin : end + 1, i].sum()
            assert episode.episode_return[end, i] == pytest.approx(total, rel=1e-5)
        firsts = transition.observations[begins, i]
        assert len(np.unique(firsts, axis=0)) == len(begins)  # each reset is new
        assert np.abs(firsts[:, 1:]).max() <= 0.005 * (1 + 1e-4)


def test_a_run_does_not_depend_on_its_neighbours():
    run = lambda key: roll(HOPPER, 2, 60, key)[1][0]  # noqa: E731
    keys = jax.random.split(jax.random.key(5), 3)
    many = jax.jit(jax.vmap(run))(keys)  # runs of environments: nested
    alone = jax.jit(run)(keys[1])
    np.testing.assert_allclose(many.rewards[1], alone.rewards, rtol=1e-4, atol=1e-4)
    assert not np.allclose(many.rewards[0], many.rewards[1])


def test_one_trace():
    step = jax.jit(
        chex.assert_max_traces(
            lambda *args: episodes.step(args[0], HOPPER, *args[1:]), 1
        )
    )
    state = episodes.reset(jax.random.key(0), HOPPER)
    for i in range(3):
        state, *_ = step(jax.random.key(i), state, jnp.full(3, 0.1 * i))


@pytest.mark.parametrize(
    ("env", "values", "length"),
    [
        (diagnostic.constant_reward(), {0.0: 1.0}, 1),
        (diagnostic.constant_reward(terminates=False), {0.0: 10.0}, 4),
        (diagnostic.delayed_reward(), {0.0: 0.9, 1.0: 1.0}, 2),
        (diagnostic.observation_reward(), None, 1),
    ],
    ids=["constant", "limited", "delayed", "observation"],
)
def test_diagnostic_environments_have_the_values_they_claim(env, values, length):
    """The stated V solves Bellman's equation on every transition, for gamma = 0.9."""
    _, (transition, episode) = jax.jit(partial(roll, env, 3, 24))(jax.random.key(0))
    value = np.vectorize(lambda o: o if values is None else values.get(float(o), 0.0))
    v, next_v = (
        value(np.asarray(o)[..., 0])
        for o in (transition.observations, transition.next_observations)
    )
    target = transition.rewards + 0.9 * (1 - transition.terminations) * next_v
    np.testing.assert_allclose(v, target, rtol=1e-6)
    assert (np.asarray(episode.length)[episode.ended] == length).all()
    assert episode.ended.sum() == 3 * 24 // length


@pytest.mark.parametrize(
    ("env", "best"),
    [
        (diagnostic.action_reward(), lambda o: 0 * o + 0.5),
        (diagnostic.target_reward(), lambda o: o),
    ],
    ids=["action", "target"],
)
def test_diagnostic_environments_are_paid_by_the_action(env, best):
    _, (transition, _) = roll(env, 3, 8, jax.random.key(0))
    gap = transition.actions - best(transition.observations)
    np.testing.assert_allclose(transition.rewards, -(gap[..., 0] ** 2), rtol=1e-6)
    state = env.reset(jax.random.key(1))
    assert env.step(state, best(state.observation)).reward == 0
    assert transition.terminations.all()


@pytest.mark.slow
def test_thousands_of_environments_finish_and_leak_nothing():
    count, steps = 4096, 250
    run = jax.jit(lambda key: roll(HOPPER, count, steps, key)[1][1].ended.sum())
    sizes = []
    for i in range(5):  # the first compiles and allocates; then 1000 steps
        begin = time.perf_counter()
        run(jax.random.key(i)).block_until_ready()
        rate = count * steps / (time.perf_counter() - begin)
        with open("/proc/self/statm") as statm:
            sizes.append(int(statm.read().split()[1]) * resource.getpagesize() / 2**20)
        print(f"{rate:.0f} steps/s, {sizes[-1]:.0f} MiB")
    assert sizes[-1] - sizes[0] < 20
