"""Losses and weights against float64 NumPy, in both branches of each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import losses

RTOL = 2e-6  # a few roundings of float32, where no formula cancels
DIFFERENCES = np.concatenate([np.linspace(-3, 3, 61), [-200.0, -4.01, 4.01, 200.0]])
# sigma, x, h(x): RPEX's b = 1 / sigma^2 is 100, 4, 1 and 0.111
HUBER_VALUES = [
    (0.1, 1.0, 0.005),
    (0.1, 200.0, 150.0),
    (0.5, 1.0, 0.125),
    (0.5, 5.0, 3.0),
    (1.0, 1.0, 0.5),
    (1.0, 5.0, 4.5),
    (3.0, 0.05, 0.01125),
    (3.0, 1.0, 0.944444444),
]


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
@pytest.mark.parametrize("expectile", [0.1, 0.5, 0.7, 0.9])
def test_expectile_loss_weighs_the_two_sides(expectile, wrap):
    """A positive difference weighs `expectile`, a negative one the rest."""
    ours = wrap(losses.expectile_loss)(jnp.asarray(DIFFERENCES), expectile)
    weight = np.abs(expectile - (DIFFERENCES < 0))
    np.testing.assert_allclose(ours, weight * DIFFERENCES**2, rtol=RTOL, atol=1e-12)


@pytest.mark.parametrize(("sigma", "x", "expected"), HUBER_VALUES)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_riql_huber_at_the_check_values(sigma, x, expected, sign):
    """Both sides of the knee, for every sigma of RIQL's table."""
    np.testing.assert_allclose(
        losses.riql_huber_loss(jnp.float32(sign * x), sigma), expected, rtol=RTOL
    )


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 3.0])
def test_riql_huber_against_its_definition_and_slope(sigma):
    """The value everywhere, and a slope of sigma^2 x inside and 1 outside."""
    b = 1.0 / sigma**2
    x = DIFFERENCES
    inside = np.abs(x) < b
    expected = np.where(inside, x**2 / (2 * b), np.abs(x) - b / 2)
    ours = losses.riql_huber_loss(jnp.asarray(x), sigma)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)
    slope = jax.vmap(jax.grad(losses.riql_huber_loss), in_axes=(0, None))
    expected = np.where(inside, x / b, np.sign(x))
    np.testing.assert_allclose(
        slope(jnp.asarray(x), sigma), expected, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize(
    ("num", "quantile", "weights"),
    [
        (5, 0.1, (0.6, 0.4, 0.0, 0.0, 0.0)),
        (5, 0.25, (0.0, 1.0, 0.0, 0.0, 0.0)),
        (5, 0.5, (0.0, 0.0, 1.0, 0.0, 0.0)),
        (3, 0.1, (0.8, 0.2, 0.0)),
        (3, 0.25, (0.5, 0.5, 0.0)),
        (3, 0.5, (0.0, 1.0, 0.0)),
    ],
)
def test_ensemble_quantile_is_linear_between_order_statistics(num, quantile, weights):
    """RIQL's pessimism: which members count, and how much."""
    values = np.random.default_rng(num).normal(size=(num, 7))
    expected = np.sort(values, axis=0).T @ np.array(weights)
    for wrapped in (losses.ensemble_quantile, jax.jit(losses.ensemble_quantile)):
        np.testing.assert_allclose(
            wrapped(jnp.asarray(values), quantile), expected, rtol=1e-5, atol=1e-6
        )


def test_advantage_weight_is_capped_and_never_overflows():
    """exp(beta A) up to 100 and no further, also where exp would be infinite."""
    advantages = np.array([-1e4, -2.0, 0.0, 1.0, 1.5350, 1.5351, 2.0, 1e4])
    expected = np.minimum(np.exp(np.minimum(3.0 * advantages, 50.0)), 100.0)
    ours = losses.advantage_weight(jnp.asarray(advantages), 3.0)
    np.testing.assert_allclose(ours, expected, rtol=RTOL)


def test_align_weight_is_a_bell_round_zero_advantage():
    """AlignIQL trusts actions whose value is V's, on either side."""
    advantages = np.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    ours = losses.align_weight(jnp.asarray(advantages), 3.0)
    np.testing.assert_allclose(ours, np.exp(-3.0 * advantages**2), rtol=RTOL)
