"""CQL's pessimism, its ensemble, and Off2On's agent on top of it.

The values of CQL's updates are checked in tests/parity.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rpex_jax import off2on
from rpex_jax.agents import cql, cql_ensemble, sac
from rpex_jax.agents.critics import apply_critics
from tests.agents.test_agents import random_batch, random_state

NETWORKS = dict(hidden_dims=(8, 8), learning_rate=1e-3)
CONFIG = cql.CQLConfig(**NETWORKS)
ENSEMBLE = cql_ensemble.CQLEnsembleConfig(**NETWORKS, num_members=3)
BATCH = random_batch(cql.AGENT, CONFIG)
# with moments of zero: random ones are no squares
MEMBERS = cql_ensemble.AGENT.restart(random_state(cql_ensemble.AGENT, ENSEMBLE))
KEY = jax.random.key(1)


def member(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def test_the_numbers_are_those_of_the_baseline():
    """Of RPEX's pex/algorithms/cql.py, and five members as in Off2On."""
    config = cql.CQLConfig()
    assert (config.learning_rate, config.policy_learning_rate) == (3e-4, 3e-5)
    assert (config.penalty, config.num_proposals) == (10.0, 5)
    assert (config.hidden_dims, config.num_critics) == ((256,) * 3, 2)
    assert cql_ensemble.CQLEnsembleConfig().num_members == 5


def test_the_combined_policy_has_the_moments_of_the_mixture():
    """Against a NumPy mixture of the members' Gaussians."""
    ours = cql_ensemble.policy(MEMBERS, BATCH.observations, ENSEMBLE)
    each = [
        sac.apply_policy(member(MEMBERS.actor, i), BATCH.observations, ENSEMBLE)
        for i in range(3)
    ]
    means = np.array([x.mean for x in each], float)
    variances = np.exp(2.0 * np.array([x.log_std for x in each], float))
    variance = (variances + means**2).mean(0) - means.mean(0) ** 2
    np.testing.assert_allclose(ours.mean, means.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.exp(2.0 * ours.log_std), variance, rtol=1e-4)


def test_the_ensemble_values_by_the_mean_of_minima():
    """The smaller critic within a member, the mean over members."""
    rows = BATCH.observations, BATCH.actions
    each = [
        np.min(apply_critics(member(MEMBERS.critic, i), *rows, ENSEMBLE), 0)
        for i in range(3)
    ]
    ours = cql_ensemble.action_value(MEMBERS, *rows, ENSEMBLE)
    np.testing.assert_allclose(ours, np.mean(each, 0), rtol=1e-5, atol=1e-6)


def test_members_learn_as_they_would_alone():
    """Each is CQL with a key of its own."""
    together, _ = jax.jit(cql_ensemble.update)(KEY, MEMBERS, BATCH, ENSEMBLE)
    chex.assert_tree_all_finite(together)
    alone = jax.jit(cql.update)
    for i, key in enumerate(jax.random.split(KEY, 3)):
        one, _ = alone(key, member(MEMBERS, i), BATCH, ENSEMBLE)
        chex.assert_trees_all_close(member(together, i), one, rtol=1e-5, atol=1e-5)


def test_off2on_with_one_member_is_sac():
    """Nothing but the members' critics and policies sets it apart."""
    config = ENSEMBLE.replace(num_members=1)
    state = jax.tree.map(lambda x: x[:1], MEMBERS)
    state = off2on.fine_tuned(state, config)
    networks = ("critic", "actor", "target_critic")
    plain = {name: member(getattr(state, name), 0) for name in networks}
    plain = sac.restart(state._replace(**plain))
    ours, _ = jax.jit(off2on.update)(KEY, state, BATCH, config)
    theirs, _ = jax.jit(sac.update)(KEY, plain, BATCH, config)
    chex.assert_tree_all_finite(ours)
    for name in networks:
        chex.assert_trees_all_close(
            member(getattr(ours, name), 0), getattr(theirs, name), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(ours.log_temperature, theirs.log_temperature, rtol=1e-5)


def test_a_critic_of_off2on_follows_the_targets_of_its_own_member():
    """Its loss, recomputed member by member."""
    state = off2on.fine_tuned(MEMBERS, ENSEMBLE)
    target = jax.tree.map(lambda x: 2.0 * x, MEMBERS.critic)  # not the critics
    state = state._replace(target_critic=target, log_temperature=jnp.log(0.3))
    _, metrics = jax.jit(off2on.critic_step)(KEY, state, BATCH, ENSEMBLE)
    ahead = BATCH.next_observations
    policy = cql_ensemble.policy(state, ahead, ENSEMBLE)
    actions, log_prob = policy.sample_and_log_prob(KEY)
    q = partial(apply_critics, config=ENSEMBLE)
    loss = 0.0
    for i in range(3):
        smallest = np.min(q(member(target, i), ahead, actions), 0)
        y = BATCH.rewards + 0.99 * (1.0 - BATCH.terminations) * (
            smallest - 0.3 * log_prob
        )
        of_member = q(member(state.critic, i), BATCH.observations, BATCH.actions)
        loss += np.square(of_member - y).mean(-1).sum()
    np.testing.assert_allclose(metrics["critic/loss"], loss, rtol=1e-4)


def test_the_penalty_lowers_values_away_from_the_data():
    """One step from the same state: with the penalty, Q of the data rises against Q of
    other actions."""
    state = cql.AGENT.restart(random_state(cql.AGENT, CONFIG))
    others = jax.random.uniform(KEY, (50, *BATCH.actions.shape), minval=-1.0)

    def gap(config):
        after, _ = cql.critic_step(KEY, state, BATCH, config)
        zeros = jnp.zeros(others.shape[:-1])
        return cql.conservative_gap(after.critic, BATCH, others, zeros, config)

    step = jax.jit(gap)
    assert step(CONFIG) < step(CONFIG.replace(penalty=0.0)) - 1e-3
