"""Gymnasium's environments in our loops, and ours in Gymnasium's."""

import functools
import warnings
from functools import partial

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env

from rpex_jax import checkpoints, envs
from rpex_jax.data.buffer import make_buffer
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.envs import episodes
from rpex_jax.envs.bridge import GymnasiumEnv, from_gymnasium
from rpex_jax.training import online
from rpex_jax.training.evaluation import make_evaluate
from rpex_jax.training.run import stream
from tests.training.problems import BATCH, glass_agent, make_data, make_run


class Walk(gymnasium.Env):
    """A walk of random length, with everything that is not plain about spaces.

    Terminates outside [-2, 2], truncates itself there where the drift is strong.
    """

    observation_space = gymnasium.spaces.Dict(
        place=Box(-np.inf, np.inf, (1,)), drift=Box(-1, 1, (1, 2), np.float64)
    )
    action_space = Box(np.array([[0.0], [-3.0]]), np.array([[1.0], [5.0]]), dtype=float)

    made = 0

    def __init__(self):
        Walk.made += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._place = np.zeros(1, np.float32)
        self._drift = self.np_random.uniform(-1.0, 1.0, (1, 2))
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        push = action[0, 0] * self._drift[0, 0] + 0.1 * action[1, 0]
        self._place += np.float32(push + self.np_random.normal(0.0, 0.3))
        outside = bool(abs(self._place[0]) > 2)
        weak = bool(abs(self._drift[0, 1]) < 0.5)
        return self._observation(), push, outside and weak, outside and not weak, {}

    def _observation(self):
        return {"place": self._place.copy(), "drift": self._drift.copy()}


WALK = from_gymnasium(Walk, time_limit=12)


def plain(source):
    """What a reader of Gymnasium's manual would step through."""
    if source is Walk:
        return gymnasium.wrappers.FlattenObservation(
            gymnasium.wrappers.TimeLimit(Walk(), 12)
        )
    return gymnasium.make(source)


def in_units(action, env):
    """From [-1, 1] to the action space."""
    low, high = (x.astype(float) for x in (env.action_space.low, env.action_space.high))
    action = low + (np.float64(action).reshape(low.shape) + 1) / 2 * (high - low)
    return action.astype(env.action_space.dtype)


def seed_of(key):
    return int(jax.random.bits(key))


@partial(jax.jit, static_argnums=0)
def roll(env, key_reset, keys, actions):
    """`actions` [steps, n, action_dim], `keys` [steps, n], `key_reset` [n]."""
    step = jax.vmap(lambda key, state, action: episodes.step(key, env, state, action))

    def body(state, inputs):
        state, *out = step(inputs[0], state, inputs[1])
        return state, out

    state = jax.vmap(partial(episodes.reset, env=env))(key_reset)
    return jax.lax.scan(body, state, (keys, actions))[1]


@pytest.mark.parametrize(
    ("source", "steps"), [("Pendulum-v1", 205), ("Hopper-v5", 60), (Walk, 100)]
)
def test_each_transition_agrees_with_gymnasium(source, steps):
    """To the last bit of float32, through ends and resets; copies are independent."""
    env = WALK if source is Walk else from_gymnasium(source)
    count = 2
    key_reset, keys, key = jax.random.split(jax.random.key(0), 3)
    key_reset, keys = (
        jax.random.split(key_reset, count),
        jax.random.split(keys, (steps, count)),
    )
    actions = jax.random.uniform(
        key, (steps, count, env.spec.action_dim), minval=-1.0, maxval=1.0
    )
    transitions, ends = jax.tree.map(np.asarray, roll(env, key_reset, keys, actions))
    terminated = truncated = 0
    for i in range(count):
        theirs = plain(source)
        observation, _ = theirs.reset(seed=seed_of(key_reset[i]))
        length, total = 0, 0.0
        for t in range(steps):
            action = in_units(actions[t, i], theirs)
            following, reward, *ended, _ = theirs.step(action)
            length, total = length + 1, total + reward
            expected = (observation, actions[t, i], reward, following, ended[0])
            ours = [x[t, i] for x in transitions]
            for got, want in zip(ours, expected, strict=True):
                np.testing.assert_array_equal(got, np.float32(want))
            assert ends.ended[t, i] == any(ended) and ends.length[t, i] == length
            np.testing.assert_allclose(ends.episode_return[t, i], total, rtol=1e-5)
            terminated, truncated = terminated + ended[0], truncated + ended[1]
            observation = following
            if any(ended):
                observation, _ = theirs.reset(seed=seed_of(keys[t, i]))
                length, total = 0, 0.0
    assert not ends.failed.any()
    # The test saw what it is about.
    assert terminated > 1 or source == "Pendulum-v1"
    assert truncated > 1 or source == "Hopper-v5"


def test_hopper_through_gymnasium_is_our_hopper():
    ours, theirs = envs.make("Hopper-v5"), from_gymnasium("Hopper-v5")
    assert (ours.spec, ours.time_limit) == (theirs.spec, theirs.time_limit)
    actions = jax.random.uniform(jax.random.key(1), (12, 3), minval=-1.5, maxval=1.5)
    state = theirs.reset(jax.random.key(0))
    mine = ours.reset(jax.random.key(0))
    physics = mine.physics._replace(  # x is not observed, and nothing depends on it
        qpos=jnp.append(0.0, state.observation[:5]), qvel=state.observation[5:]
    )
    mine = mine._replace(physics=physics)

    @partial(jax.jit, static_argnums=0)
    def follow(env, state):
        def body(state, action):
            state = env.step(state, action)
            return state, state._replace(physics=(), readings=())

        return jax.lax.scan(body, state, actions)[1]

    mine, state = follow(ours, mine), follow(theirs, state)
    # One step rounds to 1e-6, which contacts amplify.
    np.testing.assert_allclose(mine.observation, state.observation, atol=1e-4)
    np.testing.assert_allclose(mine.reward, state.reward, atol=1e-4)
    np.testing.assert_array_equal(mine.terminated, state.terminated)
    np.testing.assert_array_equal(mine.time, state.time)


SHOVE = glass_agent(lambda observations, greedy: observations[..., :2])
UNSCALED = ObservationStatistics(jnp.zeros(3), jnp.ones(3))


def seeds_of_evaluation(run, step, episodes):
    key = jax.random.fold_in(stream(run, "evaluation"), step)
    return map(seed_of, jax.random.split(jax.random.split(key)[0], episodes))


def test_evaluation_of_several_runs():
    """A batch of runs of a batch of episodes; they end at different times."""
    runs = [make_run(seed) for seed in (3, 4)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *runs)
    evaluate = jax.jit(
        jax.vmap(make_evaluate(SHOVE, WALK, num_episodes=3), in_axes=(0, None, 0, None))
    )
    agents = jnp.zeros(2, jnp.int32)
    lengths = set()
    for step in (0, 7):
        returns = evaluate(agents, UNSCALED, stacked, step)
        for run, some in zip(runs, returns, strict=True):
            for seed, value in zip(
                seeds_of_evaluation(run, step, 3), some, strict=True
            ):
                theirs, total, ended, length = plain(Walk), 0.0, [False], 0
                observation, _ = theirs.reset(seed=seed)
                while not any(ended):
                    action = in_units(
                        np.clip(np.float32(observation[:2]), -1, 1), theirs
                    )
                    observation, reward, *ended, _ = theirs.step(action)
                    total, length = total + reward, length + 1
                np.testing.assert_allclose(value, total, rtol=1e-5, atol=1e-6)
                lengths.add(length)
    assert len(lengths) > 2 and max(lengths) == 12

    made = Walk.made
    for step in range(50):
        evaluate(agents, UNSCALED, stacked, step).block_until_ready()
    assert Walk.made == made  # the same environments again and again


@functools.cache
def program():
    """Two runs at once: start, chunk, evaluate."""
    buffer = make_buffer(100, BATCH)
    chunk = online.make_chunk(
        SHOVE, WALK, buffer, num_steps=20, updates_per_step=1, num_offline=0
    )
    evaluate = make_evaluate(SHOVE, WALK, num_episodes=1)

    def start(run):
        return online.start(jnp.zeros((), jnp.int32), WALK, buffer, run)

    return (
        jax.jit(jax.vmap(start)),
        jax.jit(jax.vmap(chunk, in_axes=(0, None, 0, None))),
        jax.jit(jax.vmap(evaluate, in_axes=(0, None, 0, None))),
    )


def train(runs, evaluations, between=lambda state: state):
    """The state after two chunks; `evaluations` after each."""
    start, chunk, evaluate = program()
    runs = jax.tree.map(lambda *x: jnp.stack(x), *runs)
    state, returns = start(runs), []
    for _ in range(2):
        state, metrics = chunk(state, UNSCALED, runs, make_data())
        returns += [
            evaluate(state.agent, UNSCALED, runs, 5) for _ in range(evaluations)
        ]
        state = between(state)
    return state, returns, metrics


def without_handles(state):
    return state._replace(
        env=state.env._replace(env=state.env.env._replace(physics=()))
    )


CLEAN = dict(offline_elements=(), online_elements=())


def test_online_training_is_reproducible_and_undisturbed():
    """The same with evaluations of the same size in between, and in any order."""
    runs = [make_run(seed, **CLEAN) for seed in (1, 2)]
    state, _, metrics = train(runs, evaluations=0)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
    again, returns, _ = train(runs, evaluations=3)
    jax.tree.map(
        np.testing.assert_array_equal, without_handles(state), without_handles(again)
    )
    for some in returns[1:3]:
        np.testing.assert_array_equal(some, returns[0])
    assert metrics["episode/count"].min() >= 1 and not metrics["episode/failed"].any()
    other, *_ = train(runs[::-1], evaluations=0)
    for a, b in zip(
        jax.tree.leaves(state.buffer), jax.tree.leaves(other.buffer), strict=True
    ):
        np.testing.assert_array_equal(a[0], b[1])


def test_a_restored_run_loses_its_episode_and_goes_on(tmp_path):
    """Its checkpoint names environments that are gone."""
    runs = [make_run(seed, **CLEAN) for seed in (1, 2)]

    def save_and_restore(state):
        # Another process draws other numbers for its groups.
        gone = state.env.env.physics.at[:, 0].add(1)
        state = state._replace(
            env=state.env._replace(env=state.env.env._replace(physics=gone))
        )
        checkpoints.save(tmp_path, int(state.step[0]), state)
        return checkpoints.restore(tmp_path, int(state.step[0]), state)

    state, _, metrics = train(runs, evaluations=0, between=save_and_restore)
    np.testing.assert_array_equal(metrics["episode/failed"], 1)
    rows = jax.tree.map(np.asarray, state.buffer.data)
    assert (rows.rewards[:, 20] == 0).all() and (rows.terminations[:, 20] == 1).all()
    assert (rows.next_observations[:, 20] == 0).all()
    # From there on it is an undisturbed environment: rows of an episode are connected.
    undisturbed, *_ = train(runs, evaluations=0)
    np.testing.assert_array_equal(
        rows.observations[:, :21], undisturbed.buffer.data.observations[:, :21]
    )
    going_on = (rows.next_observations[:, 21:39] == rows.observations[:, 22:40]).all(-1)
    assert going_on.any(axis=1).all()
    assert (rows.next_observations[:, 21:40] != 0).any(-1).all()


def test_a_state_is_good_for_one_step():
    state = jax.vmap(WALK.reset)(jax.random.split(jax.random.key(0), 2))
    step = jax.vmap(WALK.step)
    once, twice = step(state, jnp.zeros((2, 2))), step(state, jnp.zeros((2, 2)))
    assert not once.failed.any() and twice.failed.all() and twice.terminated.all()
    assert not twice.reward.any() and not twice.observation.any()
    branched = jax.vmap(WALK.step, in_axes=(None, 0))(
        jax.tree.map(lambda x: x[0], once), jnp.zeros((3, 2))
    )
    assert branched.failed.tolist() == [False, True, True]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_action_ends_the_episode_of_its_owner(value):
    states = jax.vmap(WALK.reset)(jax.random.split(jax.random.key(0), 3))
    after = jax.vmap(WALK.step)(states, jnp.zeros((3, 2)).at[1, 0].set(value))
    assert after.failed.tolist() == after.terminated.tolist() == [False, True, False]
    assert after.reward[1] == 0 and not after.observation[1].any()


def test_actions_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\); it must be \(2,\)"):
        WALK.step(WALK.reset(jax.random.key(0)), jnp.zeros(3))


@pytest.mark.parametrize(
    "source", ["Pendulum-v1", lambda: gymnasium.make("Pendulum-v1")]
)
def test_names_and_time_limits(source):
    """The host knows the limit too, and so when an environment is free again."""
    assert WALK.name == "Walk"
    assert from_gymnasium(source).name == "Pendulum-v1"
    assert from_gymnasium(source).time_limit == 200
    env = from_gymnasium(source, time_limit=2)
    assert env.time_limit == 2
    state = env.reset(jax.random.key(0))
    truncated = []
    for _ in range(2):
        state = env.step(state, jnp.zeros(1))
        truncated.append(bool(state.truncated))
    assert truncated == [False, True] and not state.terminated


def with_space(**spaces):
    return lambda: type("Odd", (Walk,), spaces)()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("Pendulm-v1", "cannot make 'Pendulm-v1' .* Did you mean: `Pendulum`"),
        ("Hopper-v9", "cannot make 'Hopper-v9' .*`v5`"),
        ("no_such_module:Walk-v0", "cannot make .*: No module named 'no_such_module'"),
        ("CartPole-v1", r"^CartPole-v1 has the action space Discrete\(2\); it must be"),
        (with_space(action_space=Box(-1, np.inf, (2,))), "^Odd .*Box.* finite bounds"),
        (with_space(action_space=Box(0, 9, (2,), np.int32)), "^Odd .* real numbers"),
        (
            with_space(observation_space=gymnasium.spaces.Sequence(Box(0, 1, (1,)))),
            "^Odd has the observation space Sequence.*it must be",
        ),
        (Walk, "^Walk has the time limit None; .*max_episode_steps"),
    ],
)
def test_what_cannot_be_used(source, message):
    with pytest.raises(ValueError, match=message) as error:
        from_gymnasium(source)
    assert "\n" not in str(error.value)


def test_a_missing_package_is_named(monkeypatch):
    def make(name, **kwargs):
        raise gymnasium.error.DependencyNotInstalled("Box2D is not installed")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(
        ValueError, match=r"'LunarLander-v3' \(.*: Box2D is not installed\)"
    ):
        from_gymnasium("LunarLander-v3")


def test_an_error_inside_names_the_environment():
    class Broken(Walk):
        def step(self, action):
            raise KeyError("motor")

    env = from_gymnasium(Broken, time_limit=5)
    with pytest.raises(Exception, match=r"Broken raised in step: KeyError.*motor"):
        jax.block_until_ready(env.step(env.reset(jax.random.key(0)), jnp.zeros(2)))


@pytest.mark.parametrize("name", ["Hopper-v4", "HalfCheetah-v4"])
def test_ours_pass_gymnasiums_checks(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(GymnasiumEnv(envs.make(name)))
    text = [str(w.message) for w in caught]
    # Gymnasium's own MuJoCo environments have unbounded observations too.
    assert all("infinity" in line or "spec" in line for line in text), text


def test_ours_step_by_step():
    env = envs.make("Hopper-v4")._replace(time_limit=4)
    theirs = GymnasiumEnv(env)
    with pytest.raises(gymnasium.error.ResetNeeded):
        theirs.step(np.zeros(3))
    first, info = theirs.reset(seed=5)
    again, _ = theirs.reset(seed=5)
    other, _ = theirs.reset()
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and info == {}
    assert first.dtype == np.float32 and first.flags.writeable
    state = theirs._state
    for time in range(1, 5):
        state = env.step(state, jnp.full(3, 0.1 * time))
        observation, reward, terminated, truncated, info = theirs.step(
            np.full(3, 0.1 * time)
        )
        np.testing.assert_allclose(observation, state.observation, rtol=1e-6, atol=1e-6)
        assert reward == pytest.approx(float(state.reward), abs=1e-5)
        assert type(reward) is float and terminated is False
        assert truncated is (time == 4) and info == {"failed": False}
    *_, info = theirs.step(np.full(3, np.nan))
    assert info == {"failed": True}
