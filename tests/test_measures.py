"""Measures against SciPy and NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from rpex_jax import measures

TOLERANCE = 2e-4  # relative; fourth powers in float32, means over thousands


@pytest.mark.parametrize("draw", ["normal", "uniform", "laplace"])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_excess_kurtosis_is_scipys(draw, wrap):
    """Per dimension, with an offset and spreads of its own."""
    rng = np.random.default_rng(0)
    x = getattr(rng, draw)(size=(3000, 3)) * [1.0, 1e-2, 30.0] + [0.0, 0.1, -50.0]
    ours = wrap(measures.excess_kurtosis)(jnp.asarray(x, jnp.float32))
    expected = scipy.stats.kurtosis(x.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-3)
    np.testing.assert_allclose(
        measures.excess_kurtosis(jnp.asarray(x[:, 0], jnp.float32)), ours[0], atol=1e-4
    )


def test_kurtosis_of_a_gaussian_policy_comes_from_its_means():
    """Given the state 0; pooled over two far states that of two points, -2."""
    noise = jax.random.normal(jax.random.key(0), (20_000, 1))
    means = jnp.where(jnp.arange(20_000) % 2 == 0, -50.0, 50.0)[:, None]
    assert abs(measures.excess_kurtosis(noise)[0]) < 0.15  # 4 standard errors
    np.testing.assert_allclose(
        measures.excess_kurtosis(noise + means), [-2.0], atol=0.01
    )


def test_effective_sample_size():
    """1 / sum p^2: all of equal weights, one of a single one, else as NumPy."""
    weights = np.random.default_rng(1).exponential(size=(4, 50)) ** 3
    p = weights / weights.sum(-1, keepdims=True)
    ours = measures.effective_sample_size(jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(ours, 1.0 / (p**2).sum(-1), rtol=TOLERANCE)
    for scale in (1e-30, 1.0, 1e30):  # squares leave float32
        equal, alone = scale * jnp.ones(8), scale * jnp.eye(8)[3]
        np.testing.assert_allclose(measures.effective_sample_size(equal), 8.0)
        np.testing.assert_allclose(measures.effective_sample_size(alone), 1.0)


def test_effective_members():
    logits = np.random.default_rng(2).normal(0.0, 3.0, (6, 5))
    p = scipy.special.softmax(logits, axis=-1)
    ours = measures.effective_members(jnp.asarray(logits, jnp.float32))
    np.testing.assert_allclose(ours, 1.0 / (p**2).sum(-1), rtol=TOLERANCE)


def test_member_shares_count_every_member():
    """Also the one that is never chosen; over all leading axes."""
    choice = jnp.array([[0, 2, 2], [2, 0, 2]])
    shares = measures.member_shares(choice, 4)
    np.testing.assert_allclose(shares, np.bincount(choice.ravel(), minlength=4) / 6)


def test_ratios_of_terms():
    """By size with the common part, by range without it."""
    rng = np.random.default_rng(3)
    term, of = rng.normal(size=(2, 7, 3))
    arrays = jnp.asarray(term, jnp.float32), jnp.asarray(of, jnp.float32)
    np.testing.assert_allclose(
        measures.size_ratio(*arrays), np.mean(abs(term)) / np.mean(abs(of)), rtol=1e-5
    )
    ranges = [(x.max(-1) - x.min(-1)).mean() for x in (term, of)]
    expected = ranges[0] / ranges[1]
    np.testing.assert_allclose(measures.range_ratio(*arrays), expected, rtol=1e-5)
    moved = measures.range_ratio(arrays[0], arrays[1] - 5.0)
    np.testing.assert_allclose(moved, expected, rtol=1e-5)


def test_clipped_shares():
    weights = jnp.array([-1e4, -1e4, -3.0, 0.0, 100.0, 99.9, 1.0, 2.0])
    assert measures.clipped_shares(weights, (-1e4, 100.0)) == (0.25, 0.125)


def test_histogram_is_numpys_and_loses_nothing():
    """What lies beyond the edges counts in the outer bins."""
    rng = np.random.default_rng(4)
    samples = np.concatenate([rng.normal(size=(500, 2)), [[-1.0, 1.0], [-9.0, 9.0]]])
    samples, edges = samples.astype(np.float32), np.linspace(-1, 1, 11)
    ours = measures.histogram(jnp.asarray(samples), jnp.asarray(edges, jnp.float32))
    inside = samples.clip(-1.0, 1.0)
    expected = [np.histogram(x, edges.astype(np.float32))[0] for x in inside.T]
    np.testing.assert_array_equal(ours, expected)
    assert ours.sum() == samples.size
