"""The action distributions, as pytrees: [..., action_dim] per parameter."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.types import Array, Key


def _gaussian_log_prob(z: Array, log_std: Array) -> Array:
    """Log-density of mean + exp(log_std) z."""
    return -jnp.sum(0.5 * z**2 + log_std + 0.5 * math.log(2 * math.pi), axis=-1)


class DiagonalGaussian(NamedTuple):
    """N(mean, exp(log_std)^2) per dimension; never clipped."""

    mean: Array
    log_std: Array

    def mode(self) -> Array:
        return self.mean

    def sample(self, key: Key) -> Array:
        noise = jax.random.normal(key, self.mean.shape)
        return self.mean + jnp.exp(self.log_std) * noise

    def log_prob(self, actions: Array) -> Array:
        """Log of the joint density over action dimensions, [...]."""
        z = (actions - self.mean) * jnp.exp(-self.log_std)
        return _gaussian_log_prob(z, self.log_std)


class TanhGaussian(NamedTuple):
    """tanh(u) for u ~ N(mean, exp(log_std)^2)."""

    mean: Array
    log_std: Array

    def mode(self) -> Array:
        return jnp.tanh(self.mean)

    def sample(self, key: Key) -> Array:
        return self.sample_and_log_prob(key)[0]

    def sample_and_log_prob(self, key: Key) -> tuple[Array, Array]:
        """A sample and its log-density, from the noise itself: exact near +-1."""
        z = jax.random.normal(key, self.mean.shape)
        u = self.mean + jnp.exp(self.log_std) * z
        return jnp.tanh(u), self._log_prob(u, z)

    def log_prob(self, actions: Array) -> Array:
        """Log-density; actions at +-1 are read as 1e-6 inside, where it is finite."""
        u = jnp.arctanh(jnp.clip(actions, -1 + 1e-6, 1 - 1e-6))
        return self._log_prob(u, (u - self.mean) * jnp.exp(-self.log_std))

    def _log_prob(self, u: Array, z: Array) -> Array:
        # log |d tanh(u)/du| in the form that neither overflows nor cancels.
        log_slope = 2.0 * (math.log(2.0) - u - jax.nn.softplus(-2.0 * u))
        return _gaussian_log_prob(z, self.log_std) - log_slope.sum(-1)


class Dirac(NamedTuple):
    """One action for certain; it has no density."""

    action: Array

    def mode(self) -> Array:
        return self.action

    def sample(self, key: Key) -> Array:
        del key
        return self.action
