"""Corruption of stored data: RPEX, arXiv 2509.24748, and RIQL attack.py.

It touches only what is stored; acting and evaluation stay clean. A row's random damage
depends on (key, row) alone, so damaging a whole data set, a drawn batch of it or one
online step is the same function, and runs share one clean data set. Adversarial damage
is found by `adversarial_corruption`; here it only takes the place of the random one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rpex_jax.types import Array, Key, Transition

ELEMENTS = ("observation", "action", "reward", "dynamics")
REWARD_SPAN = 30.0  # a randomly hit reward is replaced, not shifted


@struct.dataclass
class Corruption:
    """What is wrong with the data of one run; an entry per element of `ELEMENTS`."""

    rate: Array  # [4], share of rows hit, in [0, 1]
    scale: Array  # [4], in deviations of the element; for rewards times REWARD_SPAN
    # [4], 1.0 where the damage is the worst in reach, else 0.0
    adversarial: Array = struct.field(default_factory=lambda: jnp.zeros(4))


class Shifts(NamedTuple):
    """How far adversarial damage moves rows, in deviations: within +-scale."""

    observations: Array  # [..., observation_dim]
    actions: Array  # [..., action_dim]
    next_observations: Array  # [..., observation_dim]


def corruption(
    elements: tuple[str, ...],
    rate: float = 0.3,
    scale: float = 1.0,
    *,
    adversarial: bool = False,
) -> Corruption:
    """The same rate, scale and kind on each named element and none on the others.

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
    return Corruption(rate=rate * hit, scale=scale * hit, adversarial=adversarial * hit)


def mixed(corruptions: Sequence[Corruption]) -> Corruption:
    """Several at once; no element may be in two of them."""
    return jax.tree.map(lambda *parts: sum(parts), corruption(()), *corruptions)


def row_keys(key: Key, rows: Array) -> Key:
    """One key per row number, the same however the row is drawn: [n] -> [n]."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)


def hits(key: Key, corruption: Corruption, widths: tuple[int, ...]) -> Array:
    """Which elements of a row `corrupt_row` damages, [4]; `widths` of s, a and s'."""
    return _uniforms(key, widths)[: len(ELEMENTS)] < corruption.rate


def _uniforms(key: Key, widths: tuple[int, ...]) -> Array:
    """All that is random in a row's damage: a hit an element, then the noise."""
    return jax.random.uniform(key, (len(ELEMENTS) + sum(widths) + 1,))


def corrupt_row(
    key: Key,
    row: Transition,
    corruption: Corruption,
    deviations: Any,
    shifts: Shifts | None = None,
) -> Transition:
    """Damages one transition.

        s + U(-scale, scale)^d * std(s), and so a and s';  r := 30 U(-scale, scale),
        each with its own probability `rate`; where adversarial
        s + shift * std(s), and so a and s';  r := -scale r

    Args:
      key: of this row alone.
      row: one transition, no leading axes.
      corruption: rates and scales.
      deviations: `observations`, `actions` and `next_observations`, the unit of scale
        per dimension: offline the data's, online the normaliser's and the actions'.
      shifts: of this row, where something is adversarial.

    Returns:
      The transition as it is stored; terminations are never touched.

    Source: RPEX attack.py; the mask is redrawn per element.
    """
    widths = (row.observations.size, row.actions.size, row.next_observations.size)
    u = _uniforms(key, widths)
    hit = u[: len(ELEMENTS)] < corruption.rate
    noise = 2.0 * u[len(ELEMENTS) :] - 1.0
    adversarial = corruption.adversarial > 0
    observation_noise, action_noise, next_noise, reward_noise = jnp.split(
        noise, [widths[0], widths[0] + widths[1], sum(widths)]
    )

    def shifted(element, field, noise):
        shift = corruption.scale[element] * noise
        if shifts is not None:
            found = getattr(shifts, field)
            shift = jnp.where(adversarial[element], found, shift)
        values = getattr(row, field)
        damaged = values + shift * getattr(deviations, field)
        return jnp.where(hit[element], damaged, values)

    reward = jnp.where(
        adversarial[2],
        -corruption.scale[2] * row.rewards,
        REWARD_SPAN * corruption.scale[2] * reward_noise[0],
    )
    return Transition(
        observations=shifted(0, "observations", observation_noise),
        actions=shifted(1, "actions", action_noise),
        rewards=jnp.where(hit[2], reward, row.rewards),
        next_observations=shifted(3, "next_observations", next_noise),
        terminations=row.terminations,
    )


def corrupt(
    keys: Key,
    rows: Transition,
    corruption: Corruption,
    deviations: Any,
    shifts: Shifts | None = None,
) -> Transition:
    """`corrupt_row` over a leading axis: keys [n], rows and shifts [n, ...]."""
    per_row = jax.vmap(corrupt_row, in_axes=(0, 0, None, None, 0))
    return per_row(keys, rows, corruption, deviations, shifts)
