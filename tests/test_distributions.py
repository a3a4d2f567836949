"""Densities against SciPy in float64; samples against the densities they claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from rpex_jax.distributions import DiagonalGaussian, Dirac, TanhGaussian

MEAN = np.array([[0.3, -1.2, 0.0], [2.0, 0.1, -0.4]])
LOG_STD = np.array([[-1.5, 0.2, 0.0], [0.5, -5.0, 2.0]])
RTOL = 1e-5  # sums of a few float32 terms of order 1 to 100


def make(cls):
    return cls(jnp.asarray(MEAN), jnp.asarray(LOG_STD))


def test_gaussian_log_prob_is_the_joint_density():
    """Summed over action dimensions, without a tanh term."""
    actions = MEAN + np.exp(LOG_STD) * np.array([0.5, -2.0, 4.0])
    expected = stats.norm.logpdf(actions, MEAN, np.exp(LOG_STD)).sum(-1)
    ours = make(DiagonalGaussian).log_prob(jnp.asarray(actions))
    np.testing.assert_allclose(ours, expected, rtol=RTOL)


def test_gaussian_samples_have_its_moments_and_are_not_clipped():
    """Mean and spread within five standard errors; samples leave [-1, 1]."""
    n = 20_000
    keys = jax.random.split(jax.random.key(0), n)
    samples = np.asarray(jax.vmap(make(DiagonalGaussian).sample)(keys), np.float64)
    std = np.exp(LOG_STD)
    assert np.all(np.abs(samples.mean(0) - MEAN) < 5 * std / np.sqrt(n))
    assert np.all(np.abs(samples.std(0) / std - 1.0) < 5 / np.sqrt(2 * n))
    assert samples.max() > 1.0
    np.testing.assert_array_equal(
        make(DiagonalGaussian).mode(), MEAN.astype(np.float32)
    )


def test_tanh_log_prob_against_the_numeric_jacobian():
    """log N(u) - log |d tanh(u)/du|, the slope by central differences in float64."""
    u = np.array([[0.2, -0.9, 1.5], [1.0, 0.09, -2.0]])
    h = 1e-5
    slope = (np.tanh(u + h) - np.tanh(u - h)) / (2 * h)
    expected = stats.norm.logpdf(u, MEAN, np.exp(LOG_STD)) - np.log(slope)
    ours = make(TanhGaussian).log_prob(jnp.tanh(jnp.asarray(u)))
    np.testing.assert_allclose(ours, expected.sum(-1), rtol=1e-4)


@pytest.mark.parametrize(("mean", "log_std"), [(0.3, -0.5), (-0.5, -0.3)])
def test_tanh_density_integrates_to_one(mean, log_std):
    """A wrong Jacobian makes no density. By Simpson's rule over (-1, 1)."""
    actions = np.linspace(-1, 1, 4001)[1:-1]
    policy = TanhGaussian(jnp.full(1, mean), jnp.full(1, log_std))
    density = np.exp(np.asarray(policy.log_prob(jnp.asarray(actions)[:, None])))
    np.testing.assert_allclose(integrate.simpson(density, x=actions), 1.0, atol=1e-3)


def test_tanh_sample_and_log_prob_agree():
    """The density from the pre-tanh draw is that of the sample."""
    policy = TanhGaussian(jnp.asarray([0.1, -0.2]), jnp.asarray([-1.0, -0.5]))
    key = jax.random.key(3)
    sample, log_prob = policy.sample_and_log_prob(key)
    np.testing.assert_allclose(log_prob, policy.log_prob(sample), rtol=1e-5)
    np.testing.assert_array_equal(sample, policy.sample(key))


def test_tanh_log_prob_and_gradient_are_finite_at_the_ends():
    """Actions of exactly +-1 and saturated means: no infinity, no NaN, in either."""
    for action in (-1.0, 1.0):
        for mean in (-30.0, 0.0, 30.0):
            for log_std in (-5.0, 2.0):

                def log_prob(m, s, a=action):
                    return TanhGaussian(m, s).log_prob(jnp.full(3, a))

                value, gradients = jax.value_and_grad(log_prob, argnums=(0, 1))(
                    jnp.full(3, mean), jnp.full(3, log_std)
                )
                assert np.isfinite(value)
                assert all(np.isfinite(g).all() for g in gradients)


def test_tanh_sampled_log_prob_is_exact_when_saturated():
    """u = 30 rounds to tanh(u) = 1 in float32, yet its density is known."""
    policy = TanhGaussian(jnp.full(1, 30.0), jnp.full(1, -1.0))
    sample, log_prob = policy.sample_and_log_prob(jax.random.key(0))
    noise = float(jax.random.normal(jax.random.key(0), (1,))[0])
    # log(1 - tanh(u)^2) is 2 (log 2 - u) to 1e-26 here
    u = 30.0 + np.exp(-1.0) * noise
    expected = stats.norm.logpdf(noise) + 1.0 - 2.0 * (np.log(2.0) - u)
    assert sample[0] == 1.0
    np.testing.assert_allclose(log_prob, expected, rtol=RTOL)


def test_dirac_is_one_action_and_has_no_density():
    """Mode and every sample are the action; who asks for a density is told at once."""
    action = jnp.asarray(MEAN)
    policy = Dirac(action)
    np.testing.assert_array_equal(policy.mode(), action)
    for seed in (0, 1):
        np.testing.assert_array_equal(policy.sample(jax.random.key(seed)), action)
    with pytest.raises(AttributeError):
        policy.log_prob(action)
