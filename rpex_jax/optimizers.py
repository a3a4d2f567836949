"""Adam whose learning rate is an argument, so that runs of one program may differ."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rpex_jax.types import Array

_ADAM = optax.scale_by_adam()  # betas 0.9 and 0.999, eps 1e-8: every source's default


def adam_init(params: Any) -> optax.ScaleByAdamState:
    """Zero moments for `params`."""
    return _ADAM.init(params)


def adam_step(
    gradients: Any, state: optax.ScaleByAdamState, params: Any, learning_rate: Array
) -> tuple[Any, optax.ScaleByAdamState]:
    """One step of Adam: (new parameters, new moments)."""
    updates, state = _ADAM.update(gradients, state)
    return jax.tree.map(lambda p, u: p - learning_rate * u, params, updates), state


def cosine(count: Array, decay_steps: Array) -> Array:
    """Factor from 1 at count 0 to 0 at `decay_steps`; infinite steps hold it at 1.

    Source: torch.optim.lr_scheduler.CosineAnnealingLR, stepped once an update.
    """
    share = jnp.minimum(count / decay_steps, 1.0)
    return 0.5 * (1.0 + jnp.cos(jnp.pi * share))


def copied(params: Any) -> Any:
    """The same numbers in memory of their own, so that a state can be donated."""
    return jax.tree.map(jnp.copy, params)


def polyak(new: Any, old: Any, rate: Array) -> Any:
    """old + rate (new - old): `rate` is the share of the new weights, in [0, 1]."""
    return jax.tree.map(lambda n, o: o + rate * (n - o), new, old)
