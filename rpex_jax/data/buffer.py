"""A replay buffer as three pure functions over a ring of rows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.types import Array, Key


class BufferState(NamedTuple):
    """A ring of rows; the next one overwrites the oldest when it is full."""

    data: Any  # a Transition, or any pytree, [capacity, ...]
    position: Array  # [], int32, row that is written next
    size: Array  # [], int32, rows that are filled


class Buffer(NamedTuple):
    """The functions of one buffer."""

    init: Callable[..., Any]  # (example) -> BufferState; one row, no leading axis
    add: Callable[..., Any]  # (state, rows [n, ...]) -> state; n is static
    sample: Callable[..., Any]  # (key, state) -> rows [batch_size, ...]


def make_buffer(capacity: int, batch_size: int) -> Buffer:
    """Makes the functions of a buffer.

    Donate the state, or carry it through a scan, and `add` writes in place. `sample`
    draws with replacement from the rows that are filled; at least one must be.

    Args:
      capacity: rows that are kept.
      batch_size: rows that are drawn at once.
    """
    if min(capacity, batch_size) < 1:
        raise ValueError(
            f"capacity and batch_size must be positive, not {capacity}, {batch_size}."
        )

    def init(example: Any) -> BufferState:
        def rows(x):
            return jnp.zeros((capacity, *jnp.shape(x)), jnp.asarray(x).dtype)

        # two zeros: one array cannot be donated twice
        position, size = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return BufferState(jax.tree.map(rows, example), position, size)

    def add(state: BufferState, batch: Any) -> BufferState:
        num_rows = len(jax.tree.leaves(batch)[0])
        if num_rows > capacity:
            raise ValueError(f"{num_rows} rows do not fit in a buffer of {capacity}.")
        # A lone row is written twice. XLA makes a slice update of a single write and
        # repeats it in all that reads the buffer, from a copy of the whole buffer.
        places = jnp.arange(max(num_rows, 2)) % num_rows
        rows = (state.position + places) % capacity
        data = jax.tree.map(
            lambda x, new: x.at[rows].set(
                new[places], mode="promise_in_bounds", unique_indices=num_rows > 1
            ),
            state.data,
            batch,
        )
        return BufferState(
            data,
            (state.position + num_rows) % capacity,
            jnp.minimum(state.size + num_rows, capacity),
        )

    def sample(key: Key, state: BufferState) -> Any:
        rows = jax.random.randint(key, (batch_size,), 0, jnp.maximum(state.size, 1))
        return jax.tree.map(lambda x: x[rows], state.data)

    return Buffer(init, add, sample)
