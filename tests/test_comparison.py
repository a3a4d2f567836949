"""Statistics of few runs against SciPy, all pairs, and values that rliable gave."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rpex_jax.comparison import (
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)

RLIABLE = json.loads(
    (Path(__file__).parent / "parity" / "rliable_values.json").read_text()
)
X, Y = np.array(RLIABLE["x"]), np.array(RLIABLE["y"])
# Both intervals are drawn: the percentile 2.5 of rliable's resamples is one of ours
# between 2.1 and 2.9, four standard deviations of what 50,000 draws leave open.
INSIDE, OUTSIDE = 0.942, 0.958
RESAMPLES = 50_000


def random_scores(*counts: int) -> dict[str, np.ndarray]:
    """A task for each number of runs; scores are one of few values, so some tie."""
    rng = np.random.default_rng(sum(counts))
    return {f"task {i}": rng.integers(0, 12, n) / 4 for i, n in enumerate(counts)}


# The interquartile mean


@pytest.mark.parametrize("counts", [(1,), (3,), (4,), (5, 5, 5), (3, 4, 10, 2)])
def test_interquartile_mean_is_scipys_trimmed_mean(counts):
    scores = random_scores(*counts)
    expected = stats.trim_mean(np.concatenate(list(scores.values())), 0.25)
    np.testing.assert_allclose(interquartile_mean(scores), expected, rtol=1e-14)


def test_interquartile_mean_leaves_outliers_out():
    """Two of eight at each end, whichever task they are of."""
    scores = np.array([[-1e9, 1e9], [2.0, 3.0], [4.0, 7.0], [-1e9, 1e9]])
    assert interquartile_mean(scores) == 4.0


def test_a_run_that_failed_is_not_trimmed_away():
    """NaN would be sorted to the end that is cut off."""
    scores = np.array([[1.0], [2.0], [3.0], [np.nan]])
    assert np.isnan(interquartile_mean(scores))
    assert np.isnan(probability_of_improvement(scores, scores + 1))


# The probability of improvement


def test_probability_of_improvement_counts_all_pairs():
    """Ties count half; tasks count the same whatever their number of runs."""
    x, y = random_scores(3, 5, 4), random_scores(6, 2, 5)
    of_tasks = [
        np.mean([(a > b) + (a == b) / 2 for a, b in itertools.product(x[t], y[t])])
        for t in x
    ]
    by_scipy = [
        stats.mannwhitneyu(x[t], y[t]).statistic / (len(x[t]) * len(y[t])) for t in x
    ]
    found = probability_of_improvement(x, y)
    np.testing.assert_allclose(found, np.mean(of_tasks), rtol=1e-14)
    np.testing.assert_allclose(found, np.mean(by_scipy), rtol=1e-14)
    np.testing.assert_allclose(probability_of_improvement(y, x), 1 - found, rtol=1e-14)


# Intervals


def test_tasks_are_resampled_apart():
    """Runs that agree within each task leave nothing open, however tasks differ."""
    scores = np.tile([0.0, 10.0, 20.0, 1000.0], (4, 1))
    assert stratified_bootstrap(interquartile_mean, scores) == (15.0, 15.0)


def test_interval_is_that_of_all_resamples():
    """3 runs of a task and 2 of another: 27 x 4 resamples, each as likely as others."""
    a, b = [1.0, 2.0, 7.0], [30.0, 40.0]
    all_means = [
        np.mean([*first, *second])
        for first in itertools.product(a, repeat=3)
        for second in itertools.product(b, repeat=2)
    ]

    def mean(scores):
        return np.concatenate(list(scores.values()), axis=-1).mean(-1)

    tasks = {"a": a, "b": b}
    for level in (0.5, 0.9):
        tails = [50 * (1 - level), 50 * (1 + level)]
        expected = np.percentile(all_means, tails, method="inverted_cdf")
        found = stratified_bootstrap(mean, tasks, resamples=RESAMPLES, level=level)
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_equal_seeds_give_equal_intervals():
    first, again, other = (
        stratified_bootstrap(interquartile_mean, X, seed=seed) for seed in (3, 3, 4)
    )
    assert first == again != other


# rliable


def within(interval: list[float], statistic, *samples) -> None:
    """Asserts that the interval lies between a narrower and a wider one of ours."""
    narrow, wide = (
        stratified_bootstrap(statistic, *samples, resamples=RESAMPLES, level=level)
        for level in (INSIDE, OUTSIDE)
    )
    assert wide.low <= interval[0] <= narrow.low
    assert narrow.high <= interval[1] <= wide.high
    assert wide.high - wide.low < 1.1 * (narrow.high - narrow.low)


@pytest.mark.parametrize(("name", "scores"), [("x", X), ("y", Y)])
def test_interquartile_mean_is_rliables(name, scores):
    np.testing.assert_allclose(
        interquartile_mean(scores), RLIABLE["iqm"][name], rtol=1e-14
    )
    within(RLIABLE["iqm_interval"][name], interquartile_mean, scores)


def test_probability_of_improvement_is_rliables():
    found = probability_of_improvement(X, Y)
    np.testing.assert_allclose(found, RLIABLE["improvement"], rtol=1e-14)
    within(RLIABLE["improvement_interval"], probability_of_improvement, X, Y)
