"""The grid world against moves that NumPy makes, and at its walls and edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.envs import episodes, gridworld
from rpex_jax.envs.gridworld import DIRECTIONS, GRIDS, OPEN

SMALL = (
    "  #G",
    "  # ",
    "S   ",
)


def numpy_move(grid, position, direction):
    """A unit along an angle, unless its end or its middle is off or in a wall."""
    angle = np.deg2rad(45 * direction)
    end = position + np.array([np.cos(angle), np.sin(angle)])
    for x, y in (end, (position + end) / 2):
        column, row = int(np.floor(x)), len(grid) - 1 - int(np.floor(y))
        if not (0 <= row < len(grid) and 0 <= column < len(grid[0])):
            return position
        if grid[row][column] == "#":
            return position
    return end


@pytest.mark.parametrize("grid", [SMALL, *GRIDS.values()])
def test_moves(grid):
    """From random free places along every direction."""
    rng = np.random.default_rng(0)
    free = gridworld.centres(grid, " SG")
    # thousandths, away from the borders of cells that rounding decides
    starts = free[rng.integers(len(free), size=200)] + rng.uniform(
        -0.49, 0.49, (200, 2)
    )
    directions = np.tile(np.arange(8), 25)
    ours = gridworld.move(grid, jnp.asarray(starts, jnp.float32), directions)
    pairs = zip(starts, directions, strict=True)
    expected = np.array([numpy_move(grid, *pair) for pair in pairs])
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    stays = (expected == starts).all(1)
    assert 0 < stays.sum() < 200
    assert gridworld.is_free(grid, ours).all()


def test_the_picture_is_the_plane():
    """The lowest row is at y in (0, 1); columns go along x."""
    np.testing.assert_array_equal(gridworld.centres(SMALL, "S"), [[0.5, 0.5]])
    np.testing.assert_array_equal(gridworld.centres(SMALL, "G"), [[3.5, 2.5]])
    np.testing.assert_array_equal(
        gridworld.centres(SMALL, "#"), [[2.5, 2.5], [2.5, 1.5]]
    )
    np.testing.assert_allclose(np.linalg.norm(DIRECTIONS, axis=1), 1.0)


def test_a_walk_to_the_goal():
    """Rewards are minus the distance after the move; the goal ends the episode."""
    env = gridworld.make(SMALL)
    state = gridworld.at(gridworld.centres(SMALL, "S")[0])
    rewards, ends = [], []
    for direction in (0, 0, 0, 2, 2):
        state = jax.jit(env.step)(state, jax.nn.one_hot(direction, 8))
        rewards.append(float(state.reward))
        ends.append(bool(state.terminated))
    places = np.array([[1.5, 0.5], [2.5, 0.5], [3.5, 0.5], [3.5, 1.5], [3.5, 2.5]])
    expected = -np.linalg.norm(places - [3.5, 2.5], axis=1)
    np.testing.assert_allclose(rewards, expected, atol=1e-6)
    assert ends == [False, False, False, False, True]
    assert state.time == 5


def test_episodes_start_in_their_cell_and_are_cut():
    """In the package's own loop: the time limit, and a new start after it."""
    env = gridworld.make(OPEN)

    def one_step(state, key):
        left = jax.nn.one_hot(4, 8)  # into the edge, for ever
        state, row, episode = episodes.step(key, env, state, left)
        return state, (row.observations, episode.ended, episode.length)

    start = episodes.reset(jax.random.key(0), env)
    keys = jax.random.split(jax.random.key(1), gridworld.TIME_LIMIT + 1)
    _, (places, ended, length) = jax.jit(lambda s: jax.lax.scan(one_step, s, keys))(
        start
    )
    assert ended.nonzero()[0].tolist() == [gridworld.TIME_LIMIT - 1]
    assert length[-2] == gridworld.TIME_LIMIT and length[-1] == 1
    assert ((places >= 0) & (places < 1)).all()
    assert not np.array_equal(places[-1], places[0])
