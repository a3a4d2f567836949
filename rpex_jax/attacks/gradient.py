"""Descent along the sign of the gradient in a box: PGD, the attack of both papers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rpex_jax.types import Array


def sign_descent(
    objective: Callable[[Array], Array],
    start: Array,
    low: Array,
    high: Array,
    *,
    num_steps: int,
    step_size: Array,
) -> Array:
    """Lowers the objective in a box.

        x := clip(x - step_size sign(d objective(x) / dx), low, high)

    RIQL's attack on data is this too: its Adam is new in each step, and the first step
    of Adam is learning rate times sign of the gradient.

    Args:
      objective: [..., N] -> []. A sum or mean over independent rows attacks each on its
        own; anything else is for `jax.vmap`.
      start: [..., N]; outside the box is allowed, the first step ends inside.
      low: lowest coordinates, broadcast against `start`.
      high: highest coordinates.
      num_steps: at least 0; part of the program.
      step_size: of every coordinate, in its unit.

    Returns:
      The last x, [..., N]; no search for the best on the way.

    Raises:
      ValueError: `num_steps` is below 0.

    Source: arXiv 2510.13358, appendix E; RIQL, arXiv 2310.12955, attack.py.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps is {num_steps}; it must be at least 0")
    gradient = jax.grad(objective)

    def step(_, x):
        return jnp.clip(x - step_size * jnp.sign(gradient(x)), low, high)

    return jax.lax.fori_loop(0, num_steps, step, start)
