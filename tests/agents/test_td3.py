"""What TD3's numbers mean at their ends: no cloning or only that, no noise or much.

One program for all: the batch, the networks and the structure are the same.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.agents import td3
from tests.agents.test_agents import random_batch, random_state

CONFIG = td3.TD3Config(learning_rate=1e-3, hidden_dims=(8, 8))
BATCH = random_batch(td3.AGENT, CONFIG)
LAST = jax.tree.map(lambda x: x[-1], BATCH)
KEY = jax.random.key(1)
STATE, OTHER = (td3.restart(random_state(td3.AGENT, CONFIG, seed)) for seed in (0, 1))
update = jax.jit(td3.update)


def after(state=STATE, batch=BATCH, **numbers):
    return update(KEY, state, batch, CONFIG.replace(**numbers))[0]


def cloning(state):
    actions = td3.act(KEY, state, LAST.observations, CONFIG, greedy=True)
    return float(jnp.square(actions - LAST.actions).mean())


@pytest.mark.parametrize("alpha", [0.0, 1e6])
def test_without_the_cloning_term_alpha_is_nothing(alpha):
    """`bc_weight` 0 is TD3 to the last bit, also where alpha / mean|Q| divides by 0."""
    chex.assert_trees_all_equal(after(alpha=alpha), after(alpha=2.5))
    dead = STATE._replace(critic=jax.tree.map(jnp.zeros_like, STATE.critic))
    still = CONFIG.replace(alpha=alpha, learning_rate=0.0)  # so that Q stays 0
    chex.assert_tree_all_finite(update(KEY, dead, BATCH, still))


def test_alpha_zero_with_the_cloning_term_is_cloning():
    """The critics do not matter to the actor, which comes nearer to the data."""
    numbers = dict(alpha=0.0, bc_weight=1.0)
    cloned = after(**numbers)
    other_critics = STATE._replace(critic=OTHER.critic, target_critic=OTHER.critic)
    chex.assert_trees_all_close(
        cloned.actor, after(other_critics, **numbers).actor, rtol=0, atol=1e-6
    )
    state = STATE
    for _ in range(100):
        state = after(state, **numbers)
    assert cloning(state) < 0.8 * cloning(STATE)


def test_the_cloning_term_looks_at_the_last_batch():
    """The actions of the earlier batches reach the critics only."""
    actions = BATCH.actions.at[0].multiply(-1.0)
    numbers = dict(alpha=0.0, bc_weight=1.0)
    first = after(**numbers)
    second = after(batch=BATCH._replace(actions=actions), **numbers)
    chex.assert_trees_all_equal(first.actor, second.actor)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(first.critic, second.critic)


def test_target_noise_is_clipped_to_its_limit():
    """A limit of 0 leaves none of it; a finite one bounds what any noise can do."""
    chex.assert_trees_all_equal(
        after(target_noise=5.0, target_noise_clip=0.0), after(target_noise=0.0)
    )
    # beyond 1e3 deviations all but the sign of a draw is clipped away
    chex.assert_trees_all_equal(after(target_noise=1e6), after(target_noise=1e8))


def test_exploration_noise_has_its_deviation_and_is_clipped():
    """Around pi(s) by N(0, exploration_noise^2); greedy has none; never beyond 1."""
    observations = jnp.tile(LAST.observations[:1], (4000, 1))

    def act(noise, greedy=False):
        config = CONFIG.replace(exploration_noise=noise)
        return np.asarray(td3.act(KEY, STATE, observations, config, greedy=greedy))

    greedy = act(5.0, greedy=True)
    np.testing.assert_array_equal(greedy, td3.policy(STATE, observations, CONFIG)[0])
    assert (abs(greedy) < 0.7).all()  # so that 0.05 is never clipped
    drawn = (act(0.05) - greedy).ravel()
    error = 5 / np.sqrt(drawn.size)
    assert abs(drawn.mean()) < 0.05 * error
    assert abs(drawn.std() / 0.05 - 1.0) < error
    clipped = act(50.0)
    assert abs(clipped).max() == 1.0 and (abs(clipped) == 1.0).mean() > 0.95


def test_restart_keeps_all_but_the_moments():
    """From TD3+BC to TD3, or from pretraining to fine-tuning: targets are kept."""
    trained = after(bc_weight=1.0)
    restarted = td3.restart(trained)
    for name in ("critic", "actor", "target_critic", "target_actor"):
        chex.assert_trees_all_equal(getattr(restarted, name), getattr(trained, name))
    for name in ("critic_optimizer", "actor_optimizer"):
        assert not any(x.any() for x in jax.tree.leaves(getattr(restarted, name)))
