"""Tasks against Gymnasium, and the contract of `reset` and `step`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import envs
from rpex_jax.envs.tasks import TASKS
from tests.envs import gymnasium_env

# One of each body; versions differ in rewards or in a friction.
BODIES = [name for name in TASKS if name.endswith("v5")]


def start(env, seed=0):
    return env.reset(jax.random.key(seed))


@pytest.mark.parametrize("name", TASKS)
def test_description_agrees_with_gymnasium(name):
    env, theirs = envs.make(name), gymnasium_env(name)
    assert env.name == name
    assert (env.spec.observation_dim,) == theirs.observation_space.shape
    assert (env.spec.action_dim,) == theirs.action_space.shape
    assert env.time_limit == theirs.spec.max_episode_steps
    assert (theirs.action_space.low == -theirs.action_space.high).all()


@pytest.mark.parametrize("name", BODIES)
def test_resets_are_distributed_as_in_gymnasium(name):
    env, theirs = envs.make(name), gymnasium_env(name)
    count, scale = 500, TASKS[name].position_noise
    ours = jax.vmap(env.reset)(jax.random.split(jax.random.key(1), count))
    draws = []
    for i in range(count):
        theirs.reset(seed=i)
        data = theirs.unwrapped.data
        draws.append(np.concatenate([data.qpos, data.qvel]))
    draws = np.array(draws)
    mine = np.concatenate([ours.physics.qpos, ours.physics.qvel], axis=1)
    assert TASKS[name].velocity_noise == scale
    # Means and deviations of 500 draws scatter by 0.05 deviations.
    np.testing.assert_allclose(mine.mean(0), draws.mean(0), atol=0.3 * scale)
    np.testing.assert_allclose(mine.std(0), draws.std(0), rtol=0.2)
    nq = theirs.unwrapped.model.nq
    bounded = slice(0, nq) if TASKS[name].normal_velocity else slice(None)
    init = np.concatenate([theirs.unwrapped.init_qpos, theirs.unwrapped.init_qvel])
    noise = np.abs(mine - init)
    assert noise[:, bounded].max() <= scale * (1 + 1e-4)
    assert noise[:, bounded].max() > 0.95 * scale
    if TASKS[name].normal_velocity:  # normal: some exceed two deviations
        assert 0.03 < (noise[:, nq:] > 2 * scale).mean() < 0.07
    # Every entry of every draw is its own.
    assert len(np.unique(mine - init)) > 0.95 * mine.size
    for field in (ours.reward, ours.terminated, ours.time, ours.failed):
        assert not field.any()


@pytest.mark.parametrize("name", BODIES)
def test_keys_decide(name):
    env = envs.make(name)
    one, again, other = (start(env, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.observation, again.observation)
    assert (one.physics.qpos != other.physics.qpos).all()


@pytest.mark.parametrize("name", ["HalfCheetah-v4", "Ant-v5"])
def test_alone_equals_batched(name):
    """Up to what fusing does to the last bits of a reward."""
    env = envs.make(name)
    keys = jax.random.split(jax.random.key(3), 4)
    actions = jax.random.uniform(jax.random.key(4), (4, env.spec.action_dim))
    states = jax.vmap(env.reset)(keys)
    batched = jax.jit(jax.vmap(env.step))(states, actions)
    grid = jax.tree.map(lambda a: a.reshape(2, 2, *a.shape[1:]), (states, actions))
    nested = jax.jit(jax.vmap(jax.vmap(env.step)))(*grid)
    for i in range(4):
        alone = env.step(env.reset(keys[i]), actions[i])
        for one, many, folded in zip(
            *map(jax.tree.leaves, (alone, batched, nested)), strict=True
        ):
            for other in (many[i], folded[i // 2, i % 2]):
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["HalfCheetah-v4", "InvertedPendulum-v5"])
def test_actions_are_clipped_before_they_are_paid_for(name):
    env = envs.make(name)
    state = start(env)
    signs = jnp.resize(jnp.array([1.0, -1.0]), env.spec.action_dim)
    beyond, limit = env.step(state, 7.0 * signs), env.step(state, signs)
    jax.tree.map(np.testing.assert_array_equal, beyond, limit)
    assert not beyond.failed


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_action_ends_the_episode_of_its_owner(name, value):
    env = envs.make(name)
    states = jax.vmap(env.reset)(jax.random.split(jax.random.key(3), 3))
    actions = jnp.full((3, env.spec.action_dim), 0.1)
    expected = jax.vmap(env.step)(states, actions)
    after = jax.vmap(env.step)(states, actions.at[1, 0].set(value))
    assert after.failed.tolist() == after.terminated.tolist() == [False, True, False]
    assert not after.observation[1].any() and after.reward[1] == 0
    for got, want in zip(*map(jax.tree.leaves, (after, expected)), strict=True):
        np.testing.assert_array_equal(got[::2], want[::2])


@pytest.mark.parametrize("entry", ["qpos", "qvel"])
def test_a_bad_state_ends_the_episode(entry):
    env = envs.make("HalfCheetah-v4")
    state = start(env)
    broken = getattr(state.physics, entry).at[4].set(jnp.nan)
    after = env.step(
        state._replace(physics=state.physics._replace(**{entry: broken})), jnp.zeros(6)
    )
    assert after.failed and after.terminated and after.reward == 0
    assert not after.observation.any()


def test_an_engine_that_fails_is_survived():
    """Whatever the engine, what is not finite stays inside the physics."""

    def broken(model, frame_skip, read):
        def engine(state, control):
            return state._replace(qvel=state.qvel.at[1].set(jnp.inf)), ()

        return engine

    env = envs.make("Hopper-v4", engine=broken)
    after = jax.jit(env.step)(start(env), jnp.zeros(3))
    assert after.failed and after.terminated and after.reward == 0
    assert np.isfinite(after.observation).all()


@pytest.mark.parametrize(("name", "bonus"), [("Hopper-v4", 1.0), ("Hopper-v5", 0.0)])
def test_alive_bonus_of_the_last_step(name, bonus):
    env = envs.make(name)
    state = start(env)
    leaning = state.physics.qpos.at[2].set(0.25)  # past the limit of 0.2 rad
    state = state._replace(physics=state.physics._replace(qpos=leaning))
    after = env.step(state, jnp.zeros(3))
    displacement = float(after.physics.qpos[0] - state.physics.qpos[0])
    assert after.terminated and not after.failed
    assert float(after.reward) == pytest.approx(displacement / 0.008 + bonus, abs=1e-4)


def test_a_long_way_costs_no_precision():
    env = envs.make("HalfCheetah-v4")
    near = start(env)
    far = near._replace(
        physics=near.physics._replace(qpos=near.physics.qpos.at[0].set(1e5))
    )
    action = jnp.full(6, 0.5)
    after, expected = env.step(far, action), env.step(near, action)
    assert after.reward == expected.reward
    np.testing.assert_array_equal(after.observation, expected.observation)
    assert abs(after.physics.qpos[0] - 1e5) < 1


def test_actions_of_another_width_are_refused():
    env = envs.make("Hopper-v4")
    with pytest.raises(ValueError, match=r"\(6,\); it must be \(3,\)"):
        env.step(start(env), jnp.zeros(6))
