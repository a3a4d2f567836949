"""The ring against a Python list; alone, batched and scanned."""

from collections import deque

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.data.buffer import make_buffer
from rpex_jax.types import Transition

EXAMPLE = Transition(np.zeros(3, np.float32), np.zeros(2, np.float32), 0.0, *[0.0] * 2)


def numbered(start, num_rows):
    """Rows that hold their number in every field."""
    numbers = start + jnp.arange(num_rows, dtype=jnp.float32)
    return jax.tree.map(
        lambda x: jnp.broadcast_to(
            numbers.reshape(-1, *[1] * np.ndim(x)), (num_rows, *np.shape(x))
        ),
        EXAMPLE,
    )


@pytest.mark.parametrize("capacity", [1, 5, 8])
def test_ring_is_a_deque(capacity):
    buffer = make_buffer(capacity, batch_size=4)
    add = jax.jit(buffer.add, donate_argnums=0)
    state, rows, start = buffer.init(EXAMPLE), deque(maxlen=capacity), 1
    for num_rows in (1, 3, 5, 1, 2, 5, 4):
        if num_rows > capacity:
            continue
        state = add(state, numbered(start, num_rows))
        rows.extend(range(start, start + num_rows))
        start += num_rows
        size = int(state.size)
        assert size == len(rows)
        for field in state.data:
            stored = np.asarray(field).reshape(capacity, -1)[:size]
            assert sorted(stored[:, 0]) == sorted(rows)
            assert (stored == stored[:, :1]).all()
        assert int(state.position) == (start - 1) % capacity


def test_samples_come_from_the_filled_part_only():
    buffer = make_buffer(100, batch_size=1000)
    state = buffer.add(buffer.init(EXAMPLE), numbered(1, 7))
    drawn = buffer.sample(jax.random.key(0), state)
    assert drawn.observations.shape == (1000, 3)
    counts = np.bincount(np.asarray(drawn.rewards, int), minlength=8)
    assert counts[0] == 0 and len(counts) == 8
    # uniform: 1000 / 7 each, five standard deviations
    assert np.abs(counts[1:] - 1000 / 7).max() < 5 * np.sqrt(1000 / 7)
    np.testing.assert_array_equal(drawn.observations[:, 0], drawn.rewards)


def test_a_buffer_of_one_row():
    buffer = make_buffer(1, batch_size=3)
    state = buffer.init(EXAMPLE)
    for number in (1, 2):
        state = buffer.add(state, numbered(number, 1))
    drawn = buffer.sample(jax.random.key(0), state)
    np.testing.assert_array_equal(drawn.rewards, [2, 2, 2])


def test_runs_under_vmap_and_scan_are_runs_alone():
    buffer = make_buffer(7, batch_size=4)

    def run(seed):
        def step(state, index):
            state = buffer.add(state, numbered(100 * seed + 3 * index, 3))
            key = jax.random.fold_in(jax.random.key(seed), index)
            return state, buffer.sample(key, state)

        return jax.lax.scan(step, buffer.init(EXAMPLE), jnp.arange(6))

    batched = jax.jit(jax.vmap(run))(jnp.arange(3))
    for seed in range(3):
        alone = run(seed)
        one = jax.tree.map(lambda x, seed=seed: x[seed], batched)
        chex.assert_trees_all_equal(one, alone)


def test_adding_copies_no_buffer():
    """Donated, scanned and batched, the program has no room for a second buffer."""
    buffer = make_buffer(10_000, batch_size=8)

    def chunk(state):
        def step(state, index):
            state = buffer.add(state, numbered(index, 2))
            return state, buffer.sample(jax.random.key(0), state).rewards.mean()

        return jax.lax.scan(step, state, jnp.arange(10))

    states = jax.vmap(lambda _: buffer.init(EXAMPLE))(jnp.arange(4))
    chunk = jax.jit(jax.vmap(chunk), donate_argnums=0)
    memory = chunk.lower(states).compile().memory_analysis()
    assert memory.temp_size_in_bytes < memory.argument_size_in_bytes / 20
    chunk(states)
    chunk = jax.jit(lambda state: buffer.add(state, numbered(0, 2)), donate_argnums=0)
    chunk(buffer.init(EXAMPLE))  # a fresh state can be donated
