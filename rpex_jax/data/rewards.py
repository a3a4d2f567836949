"""The unit that agents learn rewards in; what is evaluated and logged stays raw."""

from typing import Any, NamedTuple

import numpy as np

from rpex_jax.data.dataset import Dataset, DatasetError
from rpex_jax.types import Array


class RewardUnit(NamedTuple):
    """r := scale r + shift, in the data set and online, before any corruption."""

    scale: Any = 1.0
    shift: Any = 0.0

    def apply(self, rewards: Array) -> Array:
        """Raw rewards as agents see them, [...]."""
        return self.scale * rewards + self.shift


RAW = RewardUnit()


def return_range_scale(dataset: Dataset, source: str) -> float:
    """IQL's scale: 1000 / (highest - lowest return of an episode of the data).

    Raises:
      DatasetError: all episodes have one return.

    Source: ikostrikov/implicit_q_learning, train_offline.py.
    """
    last = np.flatnonzero(dataset.episode_ends)
    totals = np.cumsum(dataset.transitions.rewards, dtype=np.float64)[last]
    returns = np.diff(totals, prepend=0.0)
    spread = np.ptp(returns)
    if not spread > 0:
        raise DatasetError(
            f"{source} has 'rewards' of {len(returns)} episodes of return "
            f"{returns[0]:g} each; a scale by the range of returns needs two values"
        )
    return float(1000.0 / spread)
