"""Every task on every engine against Gymnasium, one control step from many states.

Single steps, because trajectories part: contacts amplify the rounding of a state.
"""

import functools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import envs
from rpex_jax.envs.tasks import TASKS
from tests.envs import gymnasium_env

# Deviations relative to max(1, |x|), of 19 in 20 steps and of the worst.
TOLERANCE = {
    # From one float32 state both compute in float64: what differs is the rounding of
    # the result (6e-8), and rewards and sines computed of it in float32.
    "mujoco": (1e-6, 2e-6),
    # MJX computes in float32 (1e-7 an operation), and up to 20 evaluations of stiff
    # contacts amplify that; in float64 it agrees to 1e-12.
    "mjx": (1e-4, 1e-3),
}
COUNT, STEPS = 40, 25
# Where a task ends: an entry of (qpos, qvel), the limit, how far around it to look.
LIMITS = {
    "Hopper": [(1, 0.7, 0.02), (2, 0.2, 0.02), (2, -0.2, 0.02), (11, 100.0, 4.0)],
    "Walker2d": [(1, 0.8, 0.02), (1, 2.0, 0.02), (2, 1.0, 0.02), (2, -1.0, 0.02)],
    "HalfCheetah": [],
    "Ant": [(2, 0.2, 0.1), (2, 1.0, 0.1)],
    "InvertedPendulum": [(1, 0.2, 0.04), (1, -0.2, 0.04)],
    "InvertedDoublePendulum": [(1, 1.3, 0.3), (1, -1.3, 0.3)],
}


@functools.cache
def cases(name):
    """States on random trajectories and around the limits, and actions; NumPy."""
    env = envs.make(name, "mujoco")
    limits = LIMITS[name.split("-")[0]]
    shape = (STEPS, COUNT, env.spec.action_dim)
    actions = jax.random.uniform(jax.random.key(8), shape, minval=-1, maxval=1)
    step = jax.jit(jax.vmap(env.step))
    states = [jax.vmap(env.reset)(jax.random.split(jax.random.key(7), COUNT))]
    for action in actions[1:]:
        states.append(step(states[-1], action))
    for entry, limit, around in limits:
        start = states[0]
        values = limit + jnp.linspace(-around, around, COUNT)
        parts = jnp.concatenate([start.physics.qpos, start.physics.qvel], axis=1)
        qpos, qvel = jnp.split(
            parts.at[:, entry].set(values), [start.physics.qpos.shape[1]], axis=1
        )
        physics = start.physics._replace(qpos=qpos, qvel=qvel)
        states.append(start._replace(physics=physics))
    states = jax.tree.map(lambda *x: np.concatenate(x), *states)
    actions = np.concatenate([*actions, *actions[: len(limits)]])
    return states, actions, gymnasium_steps(name, states, actions)


def gymnasium_steps(name, states, actions):
    """Observations, rewards and terminations that Gymnasium gives, in float64."""
    env = gymnasium_env(name).unwrapped
    env.reset()
    outcomes = []
    for i, action in enumerate(actions):
        qpos = states.physics.qpos[i].astype(float)
        env.set_state(qpos, states.physics.qvel[i])
        if name.startswith("Ant"):
            # Gymnasium pays by the torso's `xpos`, which lags behind qpos until
            # `set_state` brings it up to date.
            env.data.xpos[1, 0] = qpos[0] + states.readings[i, 0]
        high = env.action_space.high
        observation, reward, terminated, *_ = env.step(action * high)
        outcomes.append((observation, reward, terminated))
    return [np.array(x) for x in zip(*outcomes, strict=True)]


def deviation(ours, theirs):
    """Of each step."""
    error = np.abs(np.asarray(ours, np.float64) - theirs)
    error /= np.maximum(1.0, np.abs(theirs))
    return error.reshape(len(error), -1).max(axis=1)


SLOW_ON_MJX = ("Ant-v4", "Walker2d-v4")  # to compile; their v5 are not left out


def on_mjx(name):
    marks = pytest.mark.slow if name in SLOW_ON_MJX else ()
    return pytest.param("mjx", name, marks=marks)


@pytest.mark.parametrize(
    ("engine", "name"),
    [("mujoco", name) for name in TASKS] + [on_mjx(name) for name in TASKS],
)
def test_steps_agree_with_gymnasium(engine, name, report):
    env = envs.make(name, engine)
    states, actions, expected = cases(name)
    # MJX is slow on a CPU: every fifth state.
    chosen = slice(None, None, 1 if engine == "mujoco" else 5)
    states, actions = jax.tree.map(lambda x: x[chosen], (states, actions))
    observations, rewards, terminated = (x[chosen] for x in expected)

    # Not compiled as a whole: v4 and v5 share the engine's program.
    after = jax.vmap(env.step)(states, actions)
    off = deviation(after.observation, observations), deviation(after.reward, rewards)
    disagree = int((after.terminated != terminated).sum())
    worst = [x.max() for x in off]
    report(engine, name, len(actions), int(terminated.sum()), *worst, disagree)
    nearly_all, largest = TOLERANCE[engine]
    assert max(np.quantile(x, 0.95) for x in off) <= nearly_all
    assert max(worst) <= largest
    assert disagree == 0
    assert not after.failed.any()
    if LIMITS[name.split("-")[0]]:  # the test saw every case
        assert 0.05 < terminated.mean() < 0.9
    else:
        assert not terminated.any()


def test_no_task_is_missing():
    ours = {name.split("-")[0] for name in TASKS}
    assert set(LIMITS) == ours
    registered = {f"{body}-v{version}" for body in ours for version in (4, 5)}
    assert set(TASKS) == registered <= set(gymnasium.registry)


@pytest.mark.parametrize("name", ["Ant-v4", "Ant-v5", "InvertedDoublePendulum-v5"])
def test_episodes_agree_with_gymnasium(name):
    """From a reset, so that what the last step left is carried on by both.

    Short ones: by then contacts have made 1e-7 of rounding into no more than 1e-4.
    """
    env, theirs = envs.make(name, "mujoco"), gymnasium_env(name)
    step = jax.jit(env.step)
    for seed in range(5):
        state = env.reset(jax.random.key(seed))
        first, _ = theirs.reset(seed=seed)
        physics = state.physics
        theirs.unwrapped.set_state(np.asarray(physics.qpos, float), physics.qvel)
        expected = theirs.unwrapped._get_obs()
        np.testing.assert_allclose(state.observation, expected, rtol=1e-6, atol=1e-6)
        assert first.shape == expected.shape
        rng = np.random.default_rng(seed)
        for _ in range(10):
            action = rng.uniform(-0.5, 0.5, env.spec.action_dim).astype(np.float32)
            state = step(state, action)
            observation, reward, terminated, *_ = theirs.step(action)
            close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
            close(state.observation, observation)
            close(state.reward, reward)
            assert terminated == bool(state.terminated)
