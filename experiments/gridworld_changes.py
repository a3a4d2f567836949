"""Where the correction changes the most probable move, and for which move it does."""

from typing import NamedTuple

import numpy as np

from rpex_jax.envs.gridworld import DIRECTIONS
from rpex_jax.types import Array


class Changes(NamedTuple):
    """Of one rule with the correction against the same without; means over states."""

    share: Array  # of states where the move is another one
    taken: Array  # probability, under IQL's policy, of the move taken there
    left: Array  # and of the move that was left
    progress: Array  # of the move taken towards the goal, less that of the move left


def changes(
    logits: Array, plain: Array, log_policy: Array, positions: Array, goal: Array
) -> Changes:
    """All states of all runs count alike.

    Args:
      logits: of the moves under the rule, [..., states, 8].
      plain: the same without the correction.
      log_policy: of IQL's policy, likewise.
      positions: [states, 2].
      goal: [2].

    Returns:
      Means over runs and states; nan where no move changes.
    """
    taken, left = (np.asarray(x).argmax(-1) for x in (logits, plain))
    changed = taken != left
    probabilities = np.exp(np.asarray(log_policy, np.float64))
    away = np.asarray(goal) - np.asarray(positions)
    towards = away / np.linalg.norm(away, axis=-1, keepdims=True)
    progress = (towards[:, None] * DIRECTIONS).sum(-1)  # [states, 8]
    progress = np.broadcast_to(progress, probabilities.shape)

    def mean(values, moves):
        of_moves = np.take_along_axis(values, moves[..., None], -1)[..., 0]
        return of_moves[changed].mean() if changed.any() else np.nan

    return Changes(
        share=changed.mean(),
        taken=mean(probabilities, taken),
        left=mean(probabilities, left),
        progress=mean(progress, taken) - mean(progress, left),
    )
