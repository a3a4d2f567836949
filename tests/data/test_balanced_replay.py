"""Rows drawn by priority, and the density ratio that the priorities come from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rpex_jax.data import balanced_replay, sum_tree
from rpex_jax.data.balanced_replay import BalanceConfig, density_ratio, ratio_loss
from rpex_jax.types import Spec, Transition

KEY = jax.random.key(0)
draw = jax.jit(sum_tree.draw, static_argnums=2)


@pytest.mark.parametrize("num_rows", [1, 5, 8, 1000])
def test_the_tree_holds_the_sums_through_changes(num_rows):
    """Every node is the sum of the leaves below it, also where rows repeat."""
    rng = np.random.default_rng(num_rows)
    priorities = rng.uniform(size=num_rows).astype(np.float32)
    tree = sum_tree.make_tree(jnp.asarray(priorities))
    rows = rng.integers(0, num_rows, 7)
    priorities[rows] = new = (10.0 * rows + 1.0).astype(np.float32)
    tree = np.asarray(sum_tree.change(tree, jnp.asarray(rows), jnp.asarray(new)))
    width = len(tree) // 2
    assert width >= num_rows > width // 2 or num_rows == 1
    np.testing.assert_array_equal(tree[width : width + num_rows], priorities)
    for node in range(1, width):
        np.testing.assert_allclose(tree[node], tree[2 * node] + tree[2 * node + 1])


def test_rows_are_drawn_in_proportion_to_their_priorities():
    """By a chi-square test; a row of priority 0 never."""
    priorities = np.array([0.0, 1.0, 5.0, 0.0, 2.0, 0.5, 0.0])
    tree = sum_tree.make_tree(jnp.asarray(priorities))
    keys = jax.random.split(KEY, 2000)
    rows = jax.vmap(lambda key: draw(key, tree, 1))(keys)
    counts = np.bincount(np.asarray(rows).ravel(), minlength=len(priorities))
    some = priorities > 0
    assert counts[~some].sum() == 0
    expected = len(keys) * priorities[some] / priorities.sum()
    assert stats.chisquare(counts[some], expected).pvalue > 1e-3


def test_a_batch_has_a_row_of_every_equal_share():
    """Row i of a tree of n equal priorities comes exactly once in a batch of n."""
    rows = draw(KEY, sum_tree.make_tree(jnp.ones(64)), 64)
    np.testing.assert_array_equal(rows, np.arange(64))


def test_the_loss_is_least_at_the_density_ratio():
    """Of two densities on four points; there it is minus twice Jensen and Shannon's
    divergence, as SciPy has it."""
    offline, online = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])

    def loss(ratio):  # the means as weighted sums
        each = jax.vmap(lambda w: ratio_loss(w[None], jnp.ones(1)))(ratio)
        other = jax.vmap(lambda w: ratio_loss(jnp.ones(1), w[None]))(ratio)
        return offline @ each + online @ other

    ratio = jnp.asarray(online / offline, jnp.float32)
    np.testing.assert_allclose(jax.grad(loss)(ratio), 0.0, atol=1e-6)
    assert all(loss(ratio * x) > loss(ratio) for x in (0.8, 1.25))
    js = stats.entropy(offline, (offline + online) / 2)
    js += stats.entropy(online, (offline + online) / 2)
    np.testing.assert_allclose(loss(ratio), -js, rtol=1e-5)


def rows_near(centre, seed, count=64):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(centre + 0.3 * rng.normal(size=(count, 2)), jnp.float32)
    return Transition(x, x[:, :1], x[:, 0], x, x[:, 0])


CONFIG = BalanceConfig(learning_rate=1e-2, first_rows=16.0, hidden_dims=(16,))
NUM_OFFLINE, CAPACITY = 96, 32


@functools.cache
def learned(num_steps):
    """Offline rows lie near 0, but for the last 32, which look like the online ones."""
    like_online = rows_near(1.5, 3, 32)
    offline = jax.tree.map(
        lambda *x: jnp.concatenate(x), rows_near(0.0, 1), like_online
    )
    everything = jax.tree.map(
        lambda *x: jnp.concatenate(x), offline, rows_near(1.5, 2, CAPACITY)
    )
    state = balanced_replay.start(KEY, Spec(2, 1), NUM_OFFLINE, CAPACITY, CONFIG)
    for row in range(2):  # two rows are added
        state = balanced_replay.added(state, jnp.int32(NUM_OFFLINE + row))

    @jax.jit
    def step(state, key):
        rows = sum_tree.draw(key, state.tree, 32)
        drawn = jax.tree.map(lambda x: x[rows], everything)
        online = jax.tree.map(lambda x: x[NUM_OFFLINE:], everything)
        state, _ = balanced_replay.learn(state, offline, online, rows, drawn, CONFIG)
        return state, None

    if num_steps:
        keys = jax.random.split(KEY, num_steps)
        state, _ = jax.lax.scan(step, state, keys)
    return state, offline, everything


def leaves(state):
    width = len(state.tree) // 2
    return np.asarray(state.tree[width : width + NUM_OFFLINE + CAPACITY])


def test_the_first_batches_have_the_share_that_is_asked_for():
    """With 16 new rows of the highest priority it would be a half; of 2 it is 1 / 9."""
    state, *_ = learned(0)
    priorities = leaves(state)
    np.testing.assert_array_equal(priorities[:NUM_OFFLINE], 1.0)
    np.testing.assert_array_equal(priorities[NUM_OFFLINE : NUM_OFFLINE + 2], 6.0)
    assert priorities[NUM_OFFLINE + 2 :].sum() == 0.0
    assert 16 * 6.0 == NUM_OFFLINE


def test_rows_that_look_like_online_ones_are_drawn_more_often():
    """After learning: offline rows near the online ones above all other offline rows;
    the network tells the two apart."""
    state, _, everything = learned(200)
    ratio = density_ratio(state.ratio, everything, CONFIG)
    assert ratio[64:].mean() > 1.5 > 0.5 > ratio[:64].mean()
    priorities = leaves(state)
    assert priorities[64:NUM_OFFLINE].mean() > 1.5 * priorities[:64].mean()
    drawn = np.concatenate(
        [draw(key, state.tree, 64) for key in jax.random.split(KEY, 20)]
    )
    far = (drawn < 64).mean() / 64
    near = ((drawn >= 64) & (drawn < NUM_OFFLINE)).mean() / 32
    assert near > 1.5 * far
    assert drawn.max() < NUM_OFFLINE + 2  # never a row that is not there yet


def test_new_priorities_are_the_ratios_tempered_and_scaled():
    """Recomputed in NumPy, of the rows drawn and of no others; network of before."""
    state, offline, everything = learned(200)
    rows = jnp.array([3, 70, 96])
    drawn = jax.tree.map(lambda x: x[rows], everything)
    online = jax.tree.map(lambda x: x[NUM_OFFLINE:], everything)
    after, _ = balanced_replay.learn(state, offline, online, rows, drawn, CONFIG)
    of_drawn, of_offline = (
        np.asarray(density_ratio(state.ratio, x, CONFIG), float)
        for x in (drawn, offline)
    )
    expected = leaves(state).copy()
    expected[rows] = np.clip(of_drawn**0.2 / (of_offline**0.2).mean(), 1e-3, 1e3)
    np.testing.assert_allclose(leaves(after), expected, rtol=1e-5)
    np.testing.assert_allclose(after.highest, max(state.highest, expected[rows].max()))
