"""What walkers in a grid world leave to learn from, and the shortest way to the goal.

Some walkers know the way and mostly take it; the others move at random.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from scipy.sparse.csgraph import shortest_path

from rpex_jax.envs import gridworld
from rpex_jax.envs.gridworld import DIRECTIONS, Grid
from rpex_jax.types import Array, Key, Transition


def make_data(grid: Grid, config: ConfigDict) -> Transition:
    """The walks of every seed, [seeds, walkers * steps, ...]."""
    walk = jax.vmap(functools.partial(walks, grid, config.data, waypoints(grid)))
    return jax.jit(walk)(jax.vmap(jax.random.key)(jnp.array(config.seeds)))


def walks(grid: Grid, data: ConfigDict, way: np.ndarray, key: Key) -> Transition:
    """What the walkers of one data set did, [walkers * steps, ...]."""
    env = gridworld.make(grid)
    free = jnp.asarray(gridworld.centres(grid, " SG"))
    knows = jnp.arange(data.walkers) < round(data.near_optimal * data.walkers)

    def somewhere(key):
        key_cell, key_place = jax.random.split(key)
        place = jax.random.uniform(key_place, (2,), minval=-0.5, maxval=0.5)
        return gridworld.at(jax.random.choice(key_cell, free) + place)

    def one_step(state, key, knows):
        key_move, key_random, key_start = jax.random.split(key, 3)
        drawn = jax.random.randint(key_move, (), 0, len(DIRECTIONS))
        is_drawn = ~knows | jax.random.bernoulli(key_random, data.noise)
        direction = jnp.where(is_drawn, drawn, shortest(grid, way, state.physics))
        action = jax.nn.one_hot(direction, len(DIRECTIONS))
        following = env.step(state, action)
        row = Transition(
            state.observation,
            action,
            following.reward,
            following.observation,
            following.terminated.astype(jnp.float32),
        )
        again = following.terminated | (following.time >= data.restart)
        fresh = somewhere(key_start)
        return jax.tree.map(lambda a, b: jnp.where(again, a, b), fresh, following), row

    def one_walk(key, knows):
        key_start, key_steps = jax.random.split(key)
        keys = jax.random.split(key_steps, data.steps)
        step = functools.partial(one_step, knows=knows)
        return jax.lax.scan(step, somewhere(key_start), keys)[1]

    rows = jax.vmap(one_walk)(jax.random.split(key, data.walkers), knows)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)


def waypoints(grid: Grid) -> np.ndarray:
    """Where to head from each cell on the shortest way to the goal, [y, x, 2].

    Ways go straight from cell to cell, wherever a body of width 0.8 has room.
    """
    free = gridworld.centres(grid, " SG")
    (goal,) = np.flatnonzero((free == gridworld.centres(grid, "G")).all(1))
    apart = free - free[:, None]
    body = 0.4 * np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
    along = np.linspace(0.0, 1.0, 8 * len(grid))[:, None, None, None, None]
    between = free[:, None, None] + along * apart[:, :, None] + body
    has_room = np.asarray(gridworld.is_free(grid, between)).all((0, -1))
    ways = np.where(has_room, np.linalg.norm(apart, axis=-1), 0.0)
    _, before = shortest_path(ways, indices=goal, return_predecessors=True)
    before[goal] = goal
    table = np.zeros((len(grid), len(grid[0]), 2), np.float32)
    column, row = free.astype(int).T
    table[row, column] = free[before]
    return table


def shortest(grid: Grid, way: Array, position: Array) -> Array:
    """The direction that leads nearest to the next of the `waypoints`, []."""
    column, row = jnp.floor(position).astype(int)
    ends = gridworld.move(grid, position, jnp.arange(len(DIRECTIONS)))
    return jnp.linalg.norm(ends - jnp.asarray(way)[row, column], axis=-1).argmin()


def fewest_moves(grid: Grid) -> int:
    """Moves of the walker who knows the way."""
    env, way = gridworld.make(grid), waypoints(grid)

    def one_step(state):
        direction = shortest(grid, way, state.physics)
        return env.step(state, jax.nn.one_hot(direction, len(DIRECTIONS)))

    start = gridworld.at(gridworld.centres(grid, "S")[0])
    return int(jax.lax.while_loop(lambda s: ~s.terminated, one_step, start).time)
