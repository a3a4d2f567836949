"""Means and deviations of a data set, in one blocked pass that holds one block."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.types import Array, Transition

EPSILON = 1e-3  # added to the deviations that observations are divided by


class ObservationStatistics(NamedTuple):
    """What observations are standardised with."""

    mean: Array  # [observation_dim]
    std: Array  # [observation_dim], EPSILON included


class FieldDeviations(NamedTuple):
    """Population standard deviations of clean data: the unit of data corruption."""

    observations: Array  # [observation_dim]
    actions: Array  # [action_dim]
    next_observations: Array  # [observation_dim]


def standardise(observations: Array, statistics: ObservationStatistics) -> Array:
    """`(x - mean) / std` over the last axis."""
    return (observations - statistics.mean) / statistics.std


def observation_statistics(
    transitions: Transition,
    transform: Callable[[Array, Transition], Transition] = lambda rows, block: block,
    block_size: int = 4096,
) -> ObservationStatistics:
    """Statistics over observations and next observations together.

        mean(concat(s, s')),  std(concat(s, s')) + 1e-3

    Args:
      transitions: the clean data, [N, ...].
      transform: `(rows [n], block [n, ...]) -> block`, applied to each block of data
        before it is counted; this is where a run's corruption goes.
      block_size: rows that are transformed at once; static.

    Source: RIQL and RPEX, both compute it from the corrupted data.
    """

    def samples(rows, block):
        block = transform(rows, block)
        return jnp.stack([block.observations, block.next_observations], axis=1)

    mean, std = _moments(transitions, samples, block_size)
    return ObservationStatistics(mean, std + EPSILON)


def field_deviations(
    transitions: Transition, block_size: int = 4096
) -> FieldDeviations:
    """Standard deviation of every dimension of the fields; no epsilon.

    Source: RIQL and RPEX, `attack.py`.
    """

    def samples(rows, block):
        fields = (block.observations, block.actions, block.next_observations)
        return jnp.concatenate(fields, axis=-1)[:, None]

    _, std = _moments(transitions, samples, block_size)
    width = transitions.observations.shape[-1]
    return FieldDeviations(std[:width], std[width:-width], std[-width:])


def _moments(
    transitions: Transition,
    samples: Callable[[Array, Transition], Array],
    block_size: int,
) -> tuple[Array, Array]:
    """Mean and population deviation of `samples(rows, block)`, [n, m, d], over n and m.

    Blocks are merged by the formula of Chan, Golub and LeVeque (1979): sums of squares
    minus squared sums would cancel in float32.
    """
    num_rows = len(transitions.rewards)
    block_size = min(block_size, num_rows)

    def take(start):
        block = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, start, block_size), transitions
        )
        return samples(start + jnp.arange(block_size), block)

    def merge(carry, first):
        count, mean, squares = carry
        # the last block starts early to be full; its rows that were seen count 0
        start = jnp.minimum(first, num_rows - block_size)
        x = take(start) - shift
        fresh = start + jnp.arange(block_size) >= first
        weights = jnp.broadcast_to(fresh[:, None, None], (*x.shape[:2], 1))
        block_count = weights.sum()
        block_mean = jnp.where(weights, x, 0).sum((0, 1)) / block_count
        block_squares = jnp.where(weights, (x - block_mean) ** 2, 0).sum((0, 1))
        share = block_count / (count + block_count)
        delta = block_mean - mean
        squares += block_squares + delta**2 * count * share
        return (count + block_count, mean + delta * share, squares), None

    transitions = jax.tree.map(jnp.asarray, transitions)
    # an offset far larger than the spread would use up the digits of the mean
    shift = take(0).mean((0, 1))
    zeros = jnp.zeros_like(shift)
    firsts = jnp.arange(0, num_rows, block_size)
    (count, mean, squares), _ = jax.lax.scan(
        merge, (jnp.zeros(()), zeros, zeros), firsts
    )
    return shift + mean, jnp.sqrt(squares / count)
