"""A mix of two value functions, between direct fine-tuning and a frozen judgement."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.types import Transition
from rpex_jax.value_mix import ValueMixConfig, mixed, value_mix
from tests.agents.test_agents import random_batch, random_state
from tests.closeness import assert_trees_close

KEY = jax.random.key(0)
# Of two programs after one update: float32 sums of some ten terms, squared in a moment.
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=["iql", "riql"])
def fine_tuned(request):
    """The base, its config, a batch, and the state after updates at three weights."""
    base, config = AGENTS[request.param], CONFIGS[request.param](hidden_dims=(8, 8))
    pretrained, batch = random_state(base, config), random_batch(base, config)
    agent = value_mix(base)
    start = mixed(base, pretrained)
    # what learns must differ from what is frozen, or a mix is no mix
    other = random_state(base, config.replace(learning_rate=0.1))
    shifted = jax.tree.map(lambda x: x + 0.1, other.value)
    start = start._replace(base=start.base._replace(value=shifted))
    update = jax.jit(agent.update)
    after = {
        w: update(KEY, start, batch, ValueMixConfig(config, w)) for w in (0.0, 0.3, 1.0)
    }
    return base, config, batch, start, after


def advantages(base, state, batch: Transition, config) -> np.ndarray:
    """In float64, from the two queries."""
    q = base.target_action_value(state, batch.observations, batch.actions, config)
    v = base.state_value(state, batch.observations, config)
    return np.asarray(q, np.float64) - np.asarray(v, np.float64)


def test_without_a_weight_it_is_direct_fine_tuning(fine_tuned):
    base, config, batch, start, after = fine_tuned
    direct, metrics = jax.jit(base.update)(KEY, start.base, batch, config)
    ours = {w: (state.base, told) for w, (state, told) in after.items()}
    assert_trees_close(ours[0.0], (direct, metrics), TOLERANCE)
    with pytest.raises(AssertionError):  # and with a weight it is not
        assert_trees_close(ours[0.3], (direct, metrics), TOLERANCE)


def test_the_policy_is_weighted_by_both_advantages(fine_tuned):
    """min(exp(beta (w A_0 + (1 - w) A)), 100), recomputed in NumPy."""
    base, config, batch, start, after = fine_tuned
    frozen = start.base._replace(target_critic=start.target_critic, value=start.value)
    known = advantages(base, frozen, batch, config)
    own = advantages(base, start.base, batch, config)
    assert abs(known - own).max() > 1e-2
    for w, (_, metrics) in after.items():
        expected = np.minimum(np.exp(config.beta * (w * known + (1 - w) * own)), 100.0)
        np.testing.assert_allclose(metrics["actor/weight"], expected.mean(), rtol=1e-4)


def test_only_the_policy_hears_of_the_weight(fine_tuned):
    """Critics and V learn as they do without; what is frozen stays bit for bit."""
    _, _, _, start, after = fine_tuned
    none, all_of_it = after[0.0][0], after[1.0][0]
    for name in ("critic", "target_critic", "value"):
        chex.assert_trees_all_equal(
            getattr(none.base, name), getattr(all_of_it.base, name)
        )
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(none.base.actor, all_of_it.base.actor)
    for state in (none, all_of_it):
        chex.assert_trees_all_equal(
            (state.target_critic, state.value), (start.target_critic, start.value)
        )


def test_it_acts_by_its_one_policy(fine_tuned):
    base, config, batch, start, _ = fine_tuned
    ours = value_mix(base).act(
        KEY, start, batch.observations, ValueMixConfig(config), greedy=True
    )
    theirs = base.act(KEY, start.base, batch.observations, config, greedy=True)
    np.testing.assert_array_equal(ours, jnp.asarray(theirs))
