"""What a pretrained agent of one family hands to an agent of another."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import sweep, transfer
from rpex_jax.agents import AGENTS, CONFIGS, iql, sac, td3
from rpex_jax.agents.critics import apply_critics
from rpex_jax.agents.sac import SACConfig
from rpex_jax.data.statistics import ObservationStatistics, standardise
from tests.agents.test_agents import SPEC, random_batch, random_state

CONFIG = {"hidden_dims": (8, 8)}
KEY = jax.random.key(0)
BATCH = random_batch(AGENTS["sac"], None)
# The first of one and the last of the other are past IQL's clip to [-5, 2].
LOG_STD = {"iql": [-9.0, 0.4], "riql": [-0.4, 3.0]}


def pretrained(name):
    """A state and its config."""
    config = CONFIGS[name](**CONFIG)
    return random_state(AGENTS[name], config), config


def assert_fresh(optimizer):
    assert not any(x.any() for x in jax.tree.leaves(optimizer))


@pytest.fixture(scope="module", params=["iql", "riql"])
def pair(request):
    """A pretrained agent with its state and config, and SAC's."""
    state, config = pretrained(request.param)
    params = state.actor["params"] | {"log_std": jnp.asarray(LOG_STD[request.param])}
    state = state._replace(actor={"params": params})
    sac_config = SACConfig(
        **CONFIG, num_critics=config.num_critics, initial_temperature=0.1
    )
    agent = AGENTS[request.param]
    return agent, state, config, transfer.iql_to_sac(state, sac_config), sac_config


def test_sac_plays_and_values_as_iql_did(pair):
    """Greedy actions and every critic agree before the first update."""
    agent, old, old_config, new, config = pair
    np.testing.assert_allclose(
        sac.act(KEY, new, BATCH.observations, config, greedy=True),
        agent.act(KEY, old, BATCH.observations, old_config, greedy=True),
        rtol=0,
        atol=1e-6,
    )
    for ours, theirs in (
        (new.critic, old.critic),
        (new.target_critic, old.target_critic),
    ):
        chex.assert_trees_all_equal(ours, theirs)
        np.testing.assert_allclose(
            apply_critics(ours, BATCH.observations, BATCH.actions, config),
            apply_critics(theirs, BATCH.observations, BATCH.actions, old_config),
            rtol=0,
            atol=1e-6,
        )
    with pytest.raises(AssertionError):  # or the test could not tell them apart
        chex.assert_trees_all_equal(new.critic, new.target_critic)


def test_sac_starts_with_iqls_spread_in_every_state(pair):
    """Kernel 0 and bias the clipped log-deviation: it does not look at the state."""
    _, old, _, new, config = pair
    log_std = sac.policy(new, BATCH.observations, config).log_std
    expected = np.clip(old.actor["params"]["log_std"], -5.0, 2.0)
    np.testing.assert_array_equal(log_std, np.tile(expected, (len(log_std), 1)))
    assert not new.actor["params"]["log_std"]["Dense_0"]["kernel"].any()


def test_sac_starts_with_fresh_moments_and_its_own_temperature(pair):
    """Nothing of IQL's optimisers is left, and V is dropped."""
    _, _, _, new, _ = pair
    for name in ("critic_optimizer", "actor_optimizer", "temperature_optimizer"):
        assert_fresh(getattr(new, name))
    np.testing.assert_allclose(jnp.exp(new.log_temperature), 0.1, rtol=1e-6)


def test_sac_has_the_form_of_its_own_init(pair):
    """So that everything that takes a SAC state takes this one."""
    _, _, _, new, config = pair
    template = jax.eval_shape(partial(sac.init, spec=SPEC, config=config), KEY)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, template)


def test_sac_learns_on():
    """An update runs, and the spread can now learn to depend on the state."""
    config = SACConfig(**CONFIG)
    new = transfer.iql_to_sac(pretrained("iql")[0], config)
    after, metrics = jax.jit(sac.update)(KEY, new, BATCH, config)
    chex.assert_tree_all_finite((after, metrics))
    heads = (state.actor["params"]["log_std"]["Dense_0"] for state in (new, after))
    moved = jax.tree.map(lambda old, new: bool((old != new).any()), *heads)
    assert moved == {"kernel": True, "bias": True}


def test_runs_move_together():
    """Under `vmap` each run's SAC is the one that it would get alone."""
    first, _ = pretrained("iql")
    states = [first, jax.tree.map(lambda x: 2 * x, first)]
    move = jax.jit(partial(transfer.iql_to_sac, config=SACConfig(**CONFIG)))
    together = jax.vmap(move)(sweep.stack(states))
    for i, state in enumerate(states):
        chex.assert_trees_all_equal(sweep.take(together, i), move(state))


def test_td3_keeps_networks_and_targets_and_learns_on():
    """TD3+BC to TD3: only the moments are fresh; the term is dropped by the config."""
    old, config = pretrained("td3")
    new = transfer.td3_bc_to_td3(old)
    for name in ("critic", "actor", "target_critic", "target_actor"):
        chex.assert_trees_all_equal(getattr(new, name), getattr(old, name))
    for name in ("critic_optimizer", "actor_optimizer"):
        assert_fresh(getattr(new, name))
    batches = random_batch(td3.AGENT, config)
    after, metrics = jax.jit(td3.update)(KEY, new, batches, config)
    chex.assert_tree_all_finite((after, metrics))
    chex.assert_trees_all_equal_shapes_and_dtypes(after, old)


def test_a_policy_agrees_under_other_statistics():
    """On raw observations, though it sees them scaled and moved otherwise."""
    state, config = pretrained("iql")
    rng = np.random.default_rng(0)
    own, seen = (
        ObservationStatistics(
            jnp.asarray(rng.normal(size=SPEC.observation_dim), jnp.float32),
            jnp.asarray(rng.uniform(0.5, 3.0, SPEC.observation_dim), jnp.float32),
        )
        for _ in range(2)
    )
    raw = BATCH.observations * 2.0 + 1.0
    moved = transfer.restandardised(state.actor, own, seen)
    chex.assert_trees_all_equal_shapes_and_dtypes(moved, state.actor)
    expected, ours = (
        iql.apply_policy(actor, standardise(raw, statistics), config)
        for actor, statistics in ((state.actor, own), (moved, seen))
    )
    np.testing.assert_allclose(ours.mean, expected.mean, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(ours.log_std, expected.log_std)
    unmoved = iql.apply_policy(state.actor, standardise(raw, seen), config)
    assert abs(unmoved.mean - expected.mean).max() > 0.05
