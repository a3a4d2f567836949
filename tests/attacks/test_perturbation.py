"""Perturbed actuators: what is executed, who is hit, and what stays as it was."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rpex_jax import envs
from rpex_jax.attacks.perturbation import (
    Fault,
    Perturbation,
    PGDSettings,
    draw_fault,
    perturb,
    perturbed,
    pgd,
)
from rpex_jax.envs import Env, episodes
from rpex_jax.envs.base import EnvState
from rpex_jax.types import Spec

MEMBERS = jnp.array([[0.2, -0.1], [-0.3, 0.3], [0.0, 0.1]])
LENGTH = 5
# Two programs may round a reset otherwise, of which Ant's contacts make 3e-4.
AMPLIFIED = 1e-3


def executor() -> Env:
    """Episodes of five steps whose observation is the action that was executed last."""

    def reset(key):
        no = jnp.zeros((), bool)
        start = jax.random.normal(key, ())
        return EnvState(
            start, jnp.zeros(2), jnp.zeros(()), no, no, jnp.zeros((), jnp.int32), no
        )

    def step(state, action):
        time = state.time + 1
        return state._replace(
            observation=action,
            reward=action.sum(),
            terminated=time >= LENGTH,
            time=time,
        )

    return Env("executor", Spec(2, 2), reset, step, time_limit=10)


def rollout(env, action, num_steps, key=0):
    """Transitions and physics of a constant action, with resets."""

    @jax.jit
    def run(action, start, keys):
        def step(state, key):
            after, transition, _ = episodes.step(key, env, state, action)
            return after, (transition, state.env.physics)

        return jax.lax.scan(step, start, keys)[1]

    start = episodes.reset(jax.random.key(key), env)
    return run(action, start, jax.random.split(jax.random.key(key + 1), num_steps))


def always(perturbation):
    return lambda key: draw_fault(key, 1.0, perturbation)


@pytest.mark.parametrize(
    ("action", "delta", "executed"),
    [
        (0.5, -0.3, 0.35),
        (-0.5, 0.2, -0.6),
        (0.9, 0.5, 1.0),  # cannot be more than all
        (5.0, -0.3, 0.7),  # what is meant is within the actuator's range
        (0.0, 0.5, 0.0),
    ],
)
def test_executed_action(action, delta, executed):
    result = perturb(jnp.array([action]), jnp.array([delta]))
    np.testing.assert_allclose(result, [executed], rtol=1e-6)


def test_an_action_that_is_not_finite_stays_so():
    assert np.isnan(perturb(jnp.array([jnp.nan]), jnp.array([0.1]))).all()


def test_without_a_hit_what_is_meant_is_executed_bit_for_bit():
    action = jnp.linspace(-1.5, 1.5, 31)
    for delta in (-0.3, 0.7):
        ours = perturb(action, 0.0 * jnp.full(31, delta))
        np.testing.assert_array_equal(ours, jnp.clip(action, -1.0, 1.0))


@pytest.mark.parametrize("name", ["Hopper-v4", "Ant-v5"])
def test_at_q_0_the_rollout_is_the_clean_one(name):
    env = envs.make(name)._replace(time_limit=20)  # resets lie in between
    perturbation = Perturbation(MEMBERS[:, :1].repeat(env.spec.action_dim, 1))
    faulty = perturbed(env, lambda key: draw_fault(key, 0.0, perturbation))
    action = jnp.linspace(-1.5, 1.5, env.spec.action_dim)
    clean, _ = rollout(env, action, 120)
    same, _ = rollout(faulty, action, 120)
    chex.assert_trees_all_close(same, clean, rtol=AMPLIFIED, atol=AMPLIFIED)


def test_at_q_1_every_episode_has_one_delta_of_the_set():
    action = jnp.array([0.5, -0.5])
    env = perturbed(executor(), always(Perturbation(MEMBERS)))
    transitions, physics = rollout(env, action, 200 * LENGTH)
    deltas = np.asarray(physics.fault.delta).reshape(200, LENGTH, 2)
    np.testing.assert_array_equal(deltas, deltas[:, :1].repeat(LENGTH, 1))
    which = (deltas[:, 0, None] == np.asarray(MEMBERS)).all(-1)
    assert (which.sum(1) == 1).all()
    # drawn anew each time, each member as often
    assert stats.chisquare(which.sum(0)).pvalue > 1e-3
    assert (which[1:] & which[:-1]).any() and not (which[1:] == which[:-1]).all()
    # executed is meant times 1 + delta, and what is kept is what was meant
    executed = np.asarray(transitions.next_observations).reshape(200, LENGTH, 2)
    np.testing.assert_allclose(executed, action * (1 + deltas), rtol=1e-6)
    np.testing.assert_array_equal(transitions.actions, np.tile(action, (1000, 1)))
    np.testing.assert_allclose(transitions.rewards, executed.sum(-1).ravel(), rtol=1e-5)


def test_draws_hit_with_probability_q_and_come_from_box_or_set():
    keys = jax.random.split(jax.random.key(0), 20_000)

    def draws(q, uniform):
        perturbation = Perturbation(MEMBERS, bound=0.4, uniform=uniform)
        return jax.vmap(lambda key: draw_fault(key, q, perturbation))(keys)

    faults = draws(0.3, 0.25)
    hit = np.asarray(faults.hit)
    assert stats.binomtest(int(hit.sum()), len(hit), 0.3).pvalue > 1e-3
    member = (np.asarray(faults.delta)[:, None] == np.asarray(MEMBERS)).all(-1).any(-1)
    assert stats.binomtest(int(member.sum()), len(member), 0.75).pvalue > 1e-3
    # whether an episode is hit says nothing of its delta
    table = [[np.sum(member[hit == h]), np.sum(~member[hit == h])] for h in (0, 1)]
    assert stats.chi2_contingency(table).pvalue > 1e-3
    box = np.asarray(draws(1.0, 1.0).delta)
    for coordinate in box.T:
        assert stats.kstest(coordinate, stats.uniform(-0.4, 0.8).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(box.T)[0, 1]) < 0.03


def test_an_environment_that_resets_itself_gets_a_fault_where_it_ended():
    def reset_where(key, state, ended):
        fresh = executor().reset(key)
        return jax.tree.map(lambda a, b: jnp.where(ended, a, b), fresh, state)

    env = executor()._replace(reset_where=reset_where)
    assert perturbed(executor()).reset_where is None
    faulty = perturbed(env, always(Perturbation(MEMBERS, uniform=1.0)))
    _, physics = rollout(faulty, jnp.ones(2), 4 * LENGTH)
    deltas = np.asarray(physics.fault.delta)
    changes = np.flatnonzero((deltas[1:] != deltas[:-1]).any(1)) + 1
    np.testing.assert_array_equal(changes, [LENGTH, 2 * LENGTH, 3 * LENGTH])


def test_an_attack_finds_delta_anew_in_each_step_of_an_episode_that_is_hit():
    def attack(observation, action):
        return 0.1 + 0.01 * observation

    hits = jnp.array([1.0, 0.0])
    env = perturbed(executor(), lambda key: Fault(hits[0], jnp.full(2, 9.0)), attack)
    transitions, _ = rollout(env, jnp.full(2, 0.5), LENGTH)
    expected, executed = [], np.zeros(2)
    for _ in range(LENGTH):
        executed = 0.5 * (1 + 0.1 + 0.01 * executed)
        expected.append(executed)
    np.testing.assert_allclose(transitions.next_observations, expected, rtol=1e-6)
    spared = perturbed(executor(), lambda key: Fault(hits[1], jnp.ones(2)), attack)
    transitions, _ = rollout(spared, jnp.full(2, 0.5), LENGTH)
    np.testing.assert_array_equal(transitions.next_observations, 0.5)


@pytest.mark.parametrize("bound", [0.1, 0.5])
def test_pgd_on_a_linear_critic_ends_in_the_corner(bound):
    """delta = -bound sign(w a); an action of 0 cannot be attacked, a saturated can."""
    weights = jnp.array([1.0, -2.0, 3.0, -0.5, 2.0])
    action = jnp.array([0.5, 0.5, -0.2, 1.0, 0.0])
    corner = -bound * np.sign(weights * action)
    for settings, share in [
        (PGDSettings(), 1.0),
        (PGDSettings(num_steps=2), 1.0),  # each step is 1.25 bounds
        (PGDSettings(step_size=0.5), 0.5),  # all of them go half of the way
    ]:
        delta = pgd(lambda a: weights @ a, action, bound, settings)
        np.testing.assert_allclose(delta, share * corner, rtol=1e-6)
