"""Element-wise losses and weights; means are left to the caller."""

import math

import jax.numpy as jnp
import optax

from rpex_jax.types import Array

WEIGHT_CAP = 100.0  # IQL, PEX, RIQL and RPEX all cap exp(beta A) here
RIQL_TARGET_RANGE = (-100.0, 1000.0)


def expectile_loss(difference: Array, expectile: Array) -> Array:
    """|expectile - 1(u < 0)| u^2 for u = Q - V.

    Source: IQL, arXiv 2110.06169, equation 5.
    """
    return jnp.where(difference > 0, expectile, 1.0 - expectile) * difference**2


def riql_huber_loss(difference: Array, sigma: Array) -> Array:
    """With b = 1/sigma^2: x^2 / (2b) for |x| < b, else |x| - b/2.

    A smooth L1: slope 1 outside the knee, curvature sigma^2 inside.
    Source: RIQL, arXiv 2310.12955; RIQL.py.
    """
    return optax.huber_loss(difference, delta=sigma**-2.0) * sigma**2


def ensemble_quantile(values: Array, quantile: Array) -> Array:
    """Quantile over axis 0, linear between order statistics: [K, ...] -> [...].

    Source: RIQL.py, torch.quantile; position (K - 1) * quantile.
    """
    return jnp.quantile(values, quantile, axis=0)


def advantage_weight(advantages: Array, beta: Array) -> Array:
    """min(exp(beta A), 100). Source: IQL, equation 7, with the cap of its code."""
    return jnp.exp(jnp.minimum(beta * advantages, math.log(WEIGHT_CAP)))


def align_weight(advantages: Array, eta: Array) -> Array:
    """exp(-eta (Q - V)^2). Source: AlignIQL; RPEX, arXiv 2509.24748, equation 8."""
    return jnp.exp(-eta * advantages**2)
