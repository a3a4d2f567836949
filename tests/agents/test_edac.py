"""What EDAC adds to SAC: gradients that differ, and doubt where there are no data.

The values of its updates are checked in tests/parity.
"""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.agents import edac, sac
from rpex_jax.agents.critics import apply_critics, target_step
from rpex_jax.types import Spec, Transition
from tests.agents.test_agents import random_batch, random_state

CONFIG = edac.EDACConfig(learning_rate=1e-3, hidden_dims=(8, 8))
BATCH = random_batch(edac.AGENT, CONFIG)
KEY = jax.random.key(1)


def test_the_numbers_are_those_of_the_attack_models():
    """Of the critics that RIQL and RPEX attack data through; RIQL's EDAC.py."""
    config = edac.EDACConfig()
    assert (config.num_critics, config.hidden_dims, config.eta) == (10, (256,) * 3, 1.0)
    assert (config.learning_rate, config.discount) == (3e-4, 0.99)
    assert (config.target_update_rate, config.initial_temperature) == (0.005, 1.0)
    assert (config.entropy_per_dimension, config.log_std_min) == (-1.0, -5.0)


def test_networks_start_as_in_the_source():
    """Biases 0.1; critics as RIQL's; the policy's heads within 1e-3, its trunk a torch
    linear, the last layer of it too."""
    config = edac.EDACConfig(hidden_dims=(64, 48))
    state = edac.init(KEY, Spec(36, 4), config)
    layers = state.actor["params"]["MLP_0"]
    for name, fan_in in (("Dense_0", 36), ("Dense_1", 64)):
        assert 0.95 < np.abs(layers[name]["kernel"]).max() * np.sqrt(fan_in) <= 1.0001
        np.testing.assert_array_equal(layers[name]["bias"], np.float32(0.1))
    for head in ("mean", "log_std"):
        for x in jax.tree.leaves(state.actor["params"][head]):
            assert 3e-4 < np.abs(x).max() <= 1e-3
    first, head = (
        state.critic["params"]["VmapMLP_0"][name] for name in ("Dense_0", "Dense_2")
    )
    assert 0.95 < np.abs(first["kernel"]).max() * np.sqrt(64) <= 1.0001
    assert np.abs(head["kernel"]).max() <= 3e-3


def test_similarity_is_the_mean_over_pairs():
    """Against a loop over pairs; a gradient of zero counts nothing and has no NaN."""
    g = np.random.default_rng(0).normal(size=(4, 6, 3))
    g[1, 2] = 0.0
    units = g / (np.linalg.norm(g, axis=-1, keepdims=True) + 1e-10)
    expected = np.mean(
        [
            sum(units[i, b] @ units[j, b] for i in range(4) for j in range(4) if i != j)
            for b in range(6)
        ]
    )
    found, slope = jax.value_and_grad(edac.similarity)(jnp.asarray(g, jnp.float32))
    np.testing.assert_allclose(found, expected / 3, rtol=1e-5)
    chex.assert_tree_all_finite(slope)
    np.testing.assert_allclose(edac.similarity(jnp.ones((4, 6, 3))), 4.0, rtol=1e-6)


def test_one_pass_gives_the_gradient_of_every_critic_and_row():
    """Against one gradient at a time."""
    params = random_state(edac.AGENT, CONFIG).critic
    rows = BATCH.observations, BATCH.actions
    q, gradients = edac.values_and_gradients(params, *rows, CONFIG)
    alone = jax.vmap(jax.jacobian(apply_critics, 2), (None, 0, 0, None), out_axes=1)
    np.testing.assert_allclose(q, apply_critics(params, *rows, CONFIG), rtol=1e-5)
    np.testing.assert_allclose(gradients, alone(params, *rows, CONFIG), rtol=1e-4)


def test_without_diversity_two_critics_are_sac_in_another_order():
    """SAC's own steps, actor before critics; log-deviations inside both ranges."""
    numbers = dict(learning_rate=1e-3, hidden_dims=(8, 8))
    config = edac.EDACConfig(**numbers, eta=0.0, num_critics=2)
    plain = sac.SACConfig(**numbers)
    state = random_state(sac.AGENT, plain)
    assert (abs(sac.policy(state, BATCH.observations, plain).log_std) < 2.0).all()
    assert (abs(sac.policy(state, BATCH.next_observations, plain).log_std) < 2.0).all()

    @jax.jit
    def steps(state):
        key_actor, key_critic = jax.random.split(KEY)
        state, _ = sac.actor_step(key_actor, state, BATCH.observations, plain)
        state, _ = sac.critic_step(key_critic, state, BATCH, plain)
        return target_step(state, plain)

    ours, _ = jax.jit(edac.update)(KEY, state, BATCH, config)
    chex.assert_trees_all_close(ours, steps(state), rtol=1e-5, atol=1e-6)


# Data near one action, for a reward of 3 (a_1 + a_2) that grows past them: what was
# never tried looks better and better to critics that agree.

CENTRE, BEYOND = np.full(2, 0.3), np.full(2, 0.9)
NUM_ROWS, NUM_SEEDS, NUM_UPDATES, MINIBATCH = 256, 3, 400, 32
NARROW = edac.EDACConfig(
    learning_rate=3e-3, hidden_dims=(32, 32), initial_temperature=0.01
)


def data_near_one_action():
    actions = CENTRE + 0.1 * np.random.default_rng(0).normal(size=(NUM_ROWS, 2))
    nothing = np.zeros((NUM_ROWS, 1))
    rewards, ends = 3.0 * actions.sum(-1), np.ones(NUM_ROWS)
    rows = Transition(nothing, actions, rewards, nothing, ends)
    return jax.tree.map(np.float32, rows)


@jax.jit
@partial(jax.vmap, in_axes=(0, None))
def trained(key, config):
    """Of one seed: min Q at the centre and beyond, greedy action, last similarity."""
    data = jax.tree.map(jnp.asarray, data_near_one_action())
    key_init, key_updates = jax.random.split(key)

    def step(state, key):
        key_rows, key_update = jax.random.split(key)
        rows = jax.random.randint(key_rows, (MINIBATCH,), 0, NUM_ROWS)
        batch = jax.tree.map(lambda x: x[rows], data)
        return edac.update(key_update, state, batch, config)

    state, metrics = jax.lax.scan(
        step,
        edac.init(key_init, Spec(1, 2), config),
        jax.random.split(key_updates, NUM_UPDATES),
    )
    ask = partial(edac.AGENT.action_value, state, jnp.zeros(1), config=config)
    return {
        "centre": ask(jnp.asarray(CENTRE)),
        "beyond": ask(jnp.asarray(BEYOND)),
        "action": sac.policy(state, jnp.zeros(1), config).mode(),
        "similarity": metrics["critic/similarity"][-20:].mean(),
    }


@cache
def found(num_critics, eta):
    keys = jax.random.split(jax.random.key(0), NUM_SEEDS)
    return trained(keys, NARROW.replace(num_critics=num_critics, eta=eta))


def test_eta_parts_the_gradients():
    """The mean cosine between critics falls from 1 to below 0, least possible -1/9."""
    assert (found(10, 0.0)["similarity"] / 10 > 0.95).all()
    assert (found(10, 1.0)["similarity"] / 10 < 0.0).all()


@pytest.mark.parametrize(("num_critics", "eta"), [(2, 0.0), (10, 0.0)])
def test_critics_that_agree_follow_the_slope_out_of_the_data(num_critics, eta):
    """Fitted at the data, optimistic beyond, and the policy goes to the corner."""
    ours = found(num_critics, eta)
    np.testing.assert_allclose(ours["centre"], 1.8, atol=0.1)
    assert (ours["beyond"] > 4.0).all()
    assert (ours["action"] > 0.9).all()


def test_diverse_critics_doubt_what_is_not_in_the_data():
    """As well fitted at the data; but no action beyond looks better than the best
    tenth of the data, and the policy stays near them."""
    ours = found(10, 1.0)
    np.testing.assert_allclose(ours["centre"], 1.8, atol=0.1)
    assert (ours["beyond"] < np.quantile(data_near_one_action().rewards, 0.9)).all()
    assert (np.linalg.norm(ours["action"] - CENTRE, axis=-1) < 0.5).all()
