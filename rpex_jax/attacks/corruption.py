"""Random corruption of stored data: RPEX, arXiv 2509.24748, and RIQL attack.py.

It touches only what is stored; acting and evaluation stay clean. A row's damage
depends on (key, row) alone, so damaging a whole data set, a drawn batch of it or one
online step is the same function, and runs share one clean data set.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from rpex_jax.types import Array, Key, Transition

ELEMENTS = ("observation", "action", "reward", "dynamics")
REWARD_SPAN = 30.0  # a hit reward is replaced, not shifted


@struct.dataclass
class Corruption:
    """What is wrong with the data of one run; an entry per element of `ELEMENTS`."""

    rate: Array  # [4], share of rows hit, in [0, 1]
    scale: Array  # [4], in deviations of the element; for rewards times REWARD_SPAN


def corruption(
    elements: tuple[str, ...], rate: float = 0.3, scale: float = 1.0
) -> Corruption:
    """The same rate and scale on each named element and none on the others.

    Raises:
      ValueError: unknown element, rate outside [0, 1], or a negative scale.
    """
    for element in elements:
        if element not in ELEMENTS:
            raise ValueError(f"unknown element {element!r}; allowed are {ELEMENTS}")
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"corruption rate is {rate}; it must lie in [0, 1]")
    if not 0.0 <= scale < float("inf"):
        raise ValueError(f"corruption scale is {scale}; it must be finite and >= 0")
    hit = jnp.array([element in elements for element in ELEMENTS], jnp.float32)
    return Corruption(rate=rate * hit, scale=scale * hit)


def row_keys(key: Key, rows: Array) -> Key:
    """One key per row number, the same however the row is drawn: [n] -> [n]."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)


def corrupt_row(
    key: Key, row: Transition, corruption: Corruption, deviations: Any
) -> Transition:
    """Damages one transition.

        s + U(-scale, scale)^d * std(s), and so a and s';  r := 30 U(-scale, scale),
        each with its own probability `rate`

    Args:
      key: of this row alone.
      row: one transition, no leading axes.
      corruption: rates and scales.
      deviations: `observations`, `actions` and `next_observations`, the unit of scale
        per dimension: offline the data's, online the normaliser's and the actions'.

    Returns:
      The transition as it is stored; terminations are never touched.

    Source: RPEX attack.py, random mode; the mask is redrawn per element.
    """
    widths = (row.observations.size, row.actions.size, row.next_observations.size)
    u = jax.random.uniform(key, (len(ELEMENTS) + sum(widths) + 1,))
    hit = u[: len(ELEMENTS)] < corruption.rate
    noise = 2.0 * u[len(ELEMENTS) :] - 1.0
    observation_noise, action_noise, next_noise, reward_noise = jnp.split(
        noise, [widths[0], widths[0] + widths[1], sum(widths)]
    )

    def shifted(element, values, noise, deviation):
        shift = corruption.scale[element] * noise * deviation
        return jnp.where(hit[element], values + shift, values)

    return Transition(
        observations=shifted(
            0, row.observations, observation_noise, deviations.observations
        ),
        actions=shifted(1, row.actions, action_noise, deviations.actions),
        rewards=jnp.where(
            hit[2], REWARD_SPAN * corruption.scale[2] * reward_noise[0], row.rewards
        ),
        next_observations=shifted(
            3, row.next_observations, next_noise, deviations.next_observations
        ),
        terminations=row.terminations,
    )


def corrupt(
    keys: Key, rows: Transition, corruption: Corruption, deviations: Any
) -> Transition:
    """`corrupt_row` over a leading axis: keys [n], rows [n, ...]."""
    per_row = jax.vmap(corrupt_row, in_axes=(0, 0, None, None))
    return per_row(keys, rows, corruption, deviations)
