"""Tasks against Gymnasium, and the contract of `reset` and `step`."""

import warnings

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import envs
from rpex_jax.envs.physics import PhysicsState
from rpex_jax.envs.tasks import TASKS

# Both step from the same float32 state in float64, so what differs is the rounding of
# our result to float32 (6e-8) and rewards computed in float32. Times max(1, |x|).
TOLERANCE = 1e-6


def gymnasium_env(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # v4 is called outdated
        return gymnasium.make(name, disable_env_checker=True)


def assert_close(ours, theirs):
    theirs = np.asarray(theirs)
    error = np.abs(np.asarray(ours, np.float64) - theirs)
    worst = (error / np.maximum(1.0, np.abs(theirs))).max()
    assert worst <= TOLERANCE, worst


def start(env, seed=0):
    return env.reset(jax.random.key(seed))


def trajectories(env, count, steps, scale=1.0):
    """States before and after, and actions, [count, steps, ...]; nothing resets."""
    key_reset, key_action = jax.random.split(jax.random.key(7))
    shape = (count, steps, env.spec.action_dim)
    actions = scale * jax.random.uniform(key_action, shape, minval=-1.0, maxval=1.0)

    def run(key, actions):
        def body(state, action):
            after = env.step(state, action)
            return after, (state, after)

        return jax.lax.scan(body, env.reset(key), actions)[1]

    keys = jax.random.split(key_reset, count)
    before, after = jax.jit(jax.vmap(run))(keys, actions)
    return jax.tree.map(np.asarray, (before, actions, after))


@pytest.mark.parametrize("name", TASKS)
def test_each_step_agrees_with_gymnasium(name):
    """1000 random steps; a Hopper falls after some 20 and is followed on the ground."""
    env, theirs = envs.make(name), gymnasium_env(name)
    before, actions, after = trajectories(env, count=10, steps=100)
    theirs.reset()
    ours, expected = [], []
    for i, j in np.ndindex(10, 100):
        physics = before.physics
        theirs.unwrapped.set_state(physics.qpos[i, j].astype(float), physics.qvel[i, j])
        assert_close(before.observation[i, j], theirs.unwrapped._get_obs())
        observation, reward, terminated, truncated, _ = theirs.step(actions[i, j])
        expected.append((observation, reward, terminated))
        ours.append([f[i, j] for f in (after.observation, after.reward)])
        assert truncated == (len(expected) >= env.time_limit)
    observations, rewards, terminated = (
        np.array(v) for v in zip(*expected, strict=True)
    )
    assert_close(np.array([o for o, _ in ours]), observations)
    assert_close(np.array([r for _, r in ours]), rewards)
    np.testing.assert_array_equal(after.terminated.ravel(), terminated)
    assert not after.failed.any()
    if name.startswith("Hopper"):  # the test saw every case
        assert 0.1 < terminated.mean() < 0.9
    else:
        assert not terminated.any()


@pytest.mark.parametrize("name", TASKS)
def test_description_agrees_with_gymnasium(name):
    env, theirs = envs.make(name), gymnasium_env(name)
    assert env.name == name
    assert (env.spec.observation_dim,) == theirs.observation_space.shape
    assert (env.spec.action_dim,) == theirs.action_space.shape
    assert env.time_limit == theirs.spec.max_episode_steps
    assert (theirs.action_space.high == 1).all() and (
        theirs.action_space.low == -1
    ).all()


@pytest.mark.parametrize("name", TASKS)
def test_resets_are_distributed_as_in_gymnasium(name):
    env, theirs = envs.make(name), gymnasium_env(name)
    count = 500
    ours = jax.vmap(env.reset)(jax.random.split(jax.random.key(1), count))
    draws = []
    for i in range(count):
        theirs.reset(seed=i)
        data = theirs.unwrapped.data
        draws.append(np.concatenate([data.qpos, data.qvel]))
    draws = np.array(draws)
    mine = np.concatenate([ours.physics.qpos, ours.physics.qvel], axis=1)
    scale = theirs.unwrapped._reset_noise_scale
    # Means and deviations of 500 draws scatter by 0.05 deviations.
    np.testing.assert_allclose(mine.mean(0), draws.mean(0), atol=0.3 * scale)
    np.testing.assert_allclose(mine.std(0), draws.std(0), rtol=0.2)
    nq = theirs.unwrapped.model.nq
    bounded = slice(0, nq) if name.startswith("HalfCheetah") else slice(None)
    init = np.concatenate([theirs.unwrapped.init_qpos, theirs.unwrapped.init_qvel])
    noise = np.abs(mine - init)
    assert noise[:, bounded].max() <= scale * (1 + 1e-4)
    assert noise[:, bounded].max() > 0.95 * scale
    if name.startswith("HalfCheetah"):  # normal: some exceed two deviations
        assert 0.02 < (noise[:, nq:] > 2 * scale).mean() < 0.08
    # Every entry of every draw is its own.
    assert len(np.unique(mine - init)) > 0.95 * mine.size
    for field in (ours.reward, ours.terminated, ours.time, ours.failed):
        assert not field.any()


@pytest.mark.parametrize("name", TASKS)
def test_keys_decide(name):
    env = envs.make(name)
    one, again, other = (start(env, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.observation, again.observation)
    assert (one.observation != other.observation).all()


@pytest.mark.parametrize("name", ["Hopper-v4", "HalfCheetah-v4"])
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
            np.testing.assert_allclose(one, many[i], rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(many[i], folded[i // 2, i % 2])


@pytest.mark.parametrize("name", ["Hopper-v4", "HalfCheetah-v4"])
def test_actions_are_clipped_before_they_are_paid_for(name):
    env = envs.make(name)
    state = start(env)
    signs = jnp.resize(jnp.array([1.0, -1.0]), env.spec.action_dim)
    beyond, limit = env.step(state, 7.0 * signs), env.step(state, signs)
    jax.tree.map(np.testing.assert_array_equal, beyond, limit)
    assert not beyond.failed


@pytest.mark.parametrize("name", TASKS)
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

    def broken(model, frame_skip):
        return lambda state, control: PhysicsState(
            state.qpos, state.qvel.at[1].set(jnp.inf), state.qacc_warmstart
        )

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


def test_unknown_names_get_help():
    with pytest.raises(
        ValueError, match=r"did you mean Hopper-v4 or .*known are .*Half"
    ):
        envs.make("hopper-v4")
    with pytest.raises(ValueError, match=r"'Humanoid-v9': known are Hopper-v4"):
        envs.make("Humanoid-v9")


def test_actions_of_another_width_are_refused():
    env = envs.make("Hopper-v4")
    with pytest.raises(AssertionError, match=r"\(6,\)"):
        env.step(start(env), jnp.zeros(6))


def test_same_name_same_functions():
    assert envs.make("Hopper-v4") is envs.make("Hopper-v4")
    assert hash(envs.make("Hopper-v4")) != hash(envs.make("Hopper-v5"))
