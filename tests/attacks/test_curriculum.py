"""The identities of the curricula, and equation 11 in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.attacks import curriculum
from rpex_jax.attacks.curriculum import Curriculum

SCORES = np.random.default_rng(0).uniform(0, 1, 40).cumsum() / 40


def run(of_run: Curriculum, scores=SCORES, first=0.3):
    """q and R~ after each period."""
    states, _ = periods(of_run, scores, first)
    return np.asarray(states.q), np.asarray(states.smoothed)


def periods(of_run: Curriculum, scores, first):
    """The state after each period, and whether q was held at a bound in it."""
    state = curriculum.first_score(curriculum.start(of_run), jnp.float32(first))

    def period(state, score):
        after = curriculum.advance(state, score, of_run)
        return after, (after, curriculum.hit_bound(state, after, of_run))

    return jax.lax.scan(period, state, jnp.asarray(scores, jnp.float32))[1]


def test_a_fixed_q_stays():
    q, _ = run(Curriculum(initial=0.5))
    np.testing.assert_array_equal(q, 0.5)


@pytest.mark.parametrize("q_max", [0.25, 1.0])
def test_linear_reaches_q_max_at_its_last_period(q_max):
    periods = len(SCORES)
    q, _ = run(Curriculum(increment=curriculum.linear_increment(q_max, periods)))
    assert q[-1] == pytest.approx(q_max, rel=1e-5)
    assert q.mean() == pytest.approx(q_max * (periods + 1) / (2 * periods), rel=1e-5)


@pytest.mark.parametrize("periods", [2, 3, 300])
def test_a_ramp_of_equal_exposure_trains_at_the_mean(periods):
    """A period trains at the q of before its update; 1 is the end of all ramps."""
    q_max = curriculum.equal_exposure(0.2, periods)
    increment = curriculum.linear_increment(q_max, periods)
    assert np.mean(increment * np.arange(periods)) == pytest.approx(0.2)
    assert curriculum.equal_exposure(0.7, periods) == 1.0
    assert curriculum.equal_exposure(0.0, 1) == 0.0  # it never trains at another


def test_adaptive_telescopes_where_nothing_is_clipped():
    q, smoothed = run(Curriculum(initial=0.2, step_size=0.5, smoothing=0.3))
    assert (0 < q).all() and (q < 1).all()
    np.testing.assert_allclose(q, 0.2 + 0.5 * (smoothed - 0.3), atol=1e-6)


def test_smoothing_of_1_is_the_score_and_of_0_never_moves():
    _, smoothed = run(Curriculum(step_size=1.0, smoothing=1.0))
    np.testing.assert_allclose(smoothed, SCORES, rtol=1e-6)
    q, smoothed = run(Curriculum(initial=0.4, step_size=1.0, smoothing=0.0))
    np.testing.assert_allclose(smoothed, 0.3, rtol=1e-6)
    np.testing.assert_allclose(q, 0.4, rtol=1e-6)


@pytest.mark.parametrize("cap", [0.05, 1.0])
@pytest.mark.parametrize("step_size", [0.7, 20.0])
def test_adaptive_equals_numpy(step_size, cap):
    scores = np.random.default_rng(1).normal(0.5, 0.4, 60)
    of_run = Curriculum(initial=0.1, step_size=step_size, smoothing=0.2, cap=cap)
    q, smoothed = 0.1, 0.3
    expected, held = [], []
    for score in scores:
        previous, smoothed = smoothed, 0.2 * score + 0.8 * smoothed
        change = max(-cap, min(cap, step_size * (smoothed - previous)))
        held.append(not 0.0 <= q + change <= 1.0)
        q = min(1.0, max(0.0, q + change))
        expected.append(q)
    found, found_held = periods(of_run, scores, 0.3)
    np.testing.assert_allclose(found.q, expected, atol=2e-5)
    np.testing.assert_array_equal(found_held, held)
    met = {0.0, 1.0} & set(np.round(expected, 6))  # the bounds of q
    assert met or step_size < 1 or cap < 1


def test_losses_at_the_bottom_are_discarded_so_q_ratchets_upwards():
    scores = np.tile([0.0, 0.3], 20)
    q, _ = run(Curriculum(step_size=1.0, smoothing=1.0), scores, first=0.3)
    assert q[1] == pytest.approx(0.3) and q[0] == 0.0


def test_scores_and_the_probability_of_evaluations():
    of_run = Curriculum(low=-20.0, high=80.0)
    assert curriculum.score_of(jnp.float32(30.0), of_run) == 0.5
    for name, probability in (("mix", 0.3), ("normal", 0.0), ("adversarial", 1.0)):
        of_run = Curriculum(condition=curriculum.CONDITIONS[name])
        found = curriculum.evaluation_probability(jnp.float32(0.3), of_run)
        assert found == pytest.approx(probability)
