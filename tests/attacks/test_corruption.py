"""Random corruption: how often, how far, what is spared, and that a row's damage is
its own."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rpex_jax.attacks.corruption import (
    ELEMENTS,
    corrupt,
    corruption,
    row_keys,
)
from rpex_jax.data.statistics import FieldDeviations
from rpex_jax.types import Transition

N, OBSERVATION_DIM, ACTION_DIM = 4000, 3, 2
KEY = jax.random.key(11)
FIELDS = dict(
    zip(
        ELEMENTS,
        ("observations", "actions", "rewards", "next_observations"),
        strict=True,
    )
)
DEVIATIONS = FieldDeviations(
    observations=jnp.asarray([0.5, 2.0, 0.01]),
    actions=jnp.asarray([0.3, 1.0]),
    next_observations=jnp.asarray([4.0, 0.1, 1.0]),
)
# Kolmogorov-Smirnov and binomial bounds are at this chance of a false alarm.
FALSE_ALARM = 1e-6
# Of programs for other numbers of rows: a product of up to 4 and a sum, fused or not.
FUSED = dict(rtol=3e-7, atol=5e-7)


def make_rows(num=N):
    rng = np.random.default_rng(0)
    return Transition(
        observations=jnp.asarray(rng.normal(size=(num, OBSERVATION_DIM)), jnp.float32),
        actions=jnp.asarray(rng.uniform(-1, 1, (num, ACTION_DIM)), jnp.float32),
        rewards=jnp.asarray(rng.normal(size=num), jnp.float32),
        next_observations=jnp.asarray(
            rng.normal(size=(num, OBSERVATION_DIM)), jnp.float32
        ),
        terminations=jnp.asarray(rng.uniform(size=num) < 0.1, jnp.float32),
    )


ROWS = make_rows()


@jax.jit
def damage(key, indices, rows, config):
    return corrupt(row_keys(key, indices), rows, config, DEVIATIONS)


def damaged(config, key=KEY):
    return damage(key, jnp.arange(N), ROWS, config)


def is_hit(before, after, element):
    name = FIELDS[element]
    changed = np.asarray(getattr(before, name) != getattr(after, name))
    return changed.reshape(len(changed), -1).any(-1)


def assert_binomial(hits, rate):
    chance = stats.binomtest(int(hits.sum()), len(hits), rate).pvalue
    assert chance > FALSE_ALARM


def noise_of(after, element):
    """The shift of every row in its own unit, deviation times scale left in."""
    name = FIELDS[element]
    if element == "reward":
        return np.asarray(after.rewards, np.float64) / 30.0
    shift = np.asarray(getattr(after, name), np.float64) - np.asarray(
        getattr(ROWS, name), np.float64
    )
    return shift / np.asarray(getattr(DEVIATIONS, name), np.float64)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("element", ELEMENTS)
def test_rate_is_the_chance_that_a_row_is_hit(element, rate):
    """A Bernoulli draw per row; whoever is not hit keeps every bit."""
    hits = is_hit(ROWS, damaged(corruption((element,), rate)), element)
    assert_binomial(hits, rate)


@pytest.mark.parametrize("scale", [1.0, 0.4])
@pytest.mark.parametrize("element", ELEMENTS)
def test_damage_is_uniform_in_the_element_s_own_unit(element, scale):
    """U(-scale, scale) times the deviation per dimension; a reward is replaced by
    30 U(-scale, scale), whatever it was. Range, mean, variance and shape."""
    noise = noise_of(damaged(corruption((element,), 1.0, scale)), element) / scale
    for column in noise.reshape(N, -1).T:
        # the shift is recovered from float32 sums: 0.01 of deviation loses most
        assert np.abs(column).max() <= 1.0 + 1e-4
        assert column.max() > 0.99 and column.min() < -0.99
        assert abs(column.mean()) < 5 / np.sqrt(3 * N)
        assert abs(column.var() - 1 / 3) < 5 * np.sqrt(4 / 45 / N)
        uniform = stats.kstest(column, stats.uniform(-1.0, 2.0).cdf)
        assert uniform.pvalue > FALSE_ALARM


def test_dimensions_are_damaged_independently():
    """Noise is drawn per dimension and per element: no two columns move together."""
    after = damaged(corruption(ELEMENTS, 1.0))
    columns = np.concatenate([noise_of(after, e).reshape(N, -1).T for e in ELEMENTS])
    correlations = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlations).max() < 5.5 / np.sqrt(N)


@pytest.mark.parametrize("element", ELEMENTS)
def test_only_the_named_element_changes(element):
    """All other fields, and terminations always, are equal to the bit."""
    after = damaged(corruption((element,), 1.0))
    for name in Transition._fields:
        same = np.array_equal(getattr(after, name), getattr(ROWS, name))
        assert same == (name != FIELDS[element])


def test_rate_zero_is_the_identity_and_rate_one_hits_all():
    """The ends of the range are exact, not nearly so."""
    chex.assert_trees_all_equal(damaged(corruption(ELEMENTS, 0.0, 5.0)), ROWS)
    chex.assert_trees_all_equal(damaged(corruption((), 1.0)), ROWS)
    after = damaged(corruption(ELEMENTS, 1.0))
    for element in ELEMENTS:
        assert is_hit(ROWS, after, element).all()


def test_elements_of_a_mix_have_independent_masks():
    """The mask is redrawn per element: pairs are hit together at the product rate, and
    whether a row is hit says nothing of how."""
    after = damaged(corruption(ELEMENTS, 0.4))
    hits = {element: is_hit(ROWS, after, element) for element in ELEMENTS}
    for i, first in enumerate(ELEMENTS):
        for second in ELEMENTS[i + 1 :]:
            assert_binomial(hits[first] & hits[second], 0.16)
    assert_binomial(np.all(list(hits.values()), axis=0), 0.4**4)
    noise = noise_of(after, "reward")[hits["reward"]]
    uniform = stats.kstest(noise, stats.uniform(-1.0, 2.0).cdf)
    assert uniform.pvalue > FALSE_ALARM


def test_adding_an_element_keeps_the_damage_of_the_others():
    """A mix hits the same rows in the same way as each corruption alone."""
    mixed = damaged(corruption(ELEMENTS, 0.3))
    for element, name in FIELDS.items():
        alone = damaged(corruption((element,), 0.3))
        np.testing.assert_array_equal(getattr(mixed, name), getattr(alone, name))


def test_damage_depends_on_key_and_row_alone():
    """The whole set, a drawn batch, a shuffle and one row by itself agree, and which
    rows are hit is the same, so damage may be applied when a row is drawn."""
    config = corruption(ELEMENTS, 0.5)
    whole = damaged(config)
    order = np.random.default_rng(1).permutation(N)
    for rows in (order, order[:64], np.array([5, 5, 17, 5]), np.array([N - 1])):
        drawn = jax.tree.map(lambda x, rows=rows: x[rows], ROWS)
        after = damage(KEY, jnp.asarray(rows), drawn, config)
        expected = jax.tree.map(lambda x, rows=rows: x[rows], whole)
        chex.assert_trees_all_close(after, expected, **FUSED)
        for element in ELEMENTS:
            np.testing.assert_array_equal(
                is_hit(drawn, after, element), is_hit(drawn, expected, element)
            )


def test_another_key_hits_other_rows():
    """Runs with other seeds see other damage."""
    config = corruption(("reward",), 0.3)
    hits, others = (
        is_hit(ROWS, damaged(config, key), "reward") for key in (KEY, jax.random.key(1))
    )
    assert_binomial(hits & others, 0.09)


def test_runs_with_other_rates_share_one_program():
    """Type, mix, rate and scale are data: one trace, equal to runs of their own."""
    chex.clear_trace_counter()
    settings = [
        corruption(("observation",), 0.1),
        corruption(("action", "reward"), 0.9, 2.0),
        corruption(ELEMENTS, 0.5, 0.3),
        corruption(()),
    ]
    few = jax.tree.map(lambda x: x[:50], ROWS)
    keys = row_keys(KEY, jnp.arange(50))

    @jax.jit
    @chex.assert_max_traces(n=1)
    def sweep(configs):
        one = lambda config: corrupt(keys, few, config, DEVIATIONS)  # noqa: E731
        return jax.vmap(one)(configs)

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *settings)
    together = sweep(stacked)
    sweep(stacked.replace(rate=stacked.rate / 2, scale=stacked.scale * 2))
    for i, config in enumerate(settings):
        alone = damage(KEY, jnp.arange(50), few, config)
        chex.assert_trees_all_close(
            jax.tree.map(lambda x, i=i: x[i], together), alone, rtol=1e-6, atol=1e-6
        )


def test_corruption_uses_no_key_twice():
    """JAX's own check of key reuse passes over a whole corruption."""
    with jax.debug_key_reuse(True):
        few = jax.tree.map(lambda x: x[:5], ROWS)
        config = corruption(ELEMENTS, 0.5)
        after = jax.jit(
            lambda key: corrupt(row_keys(key, jnp.arange(5)), few, config, DEVIATIONS)
        )(jax.random.key(2))
    chex.assert_tree_all_finite(after)
