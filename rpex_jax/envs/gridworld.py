"""A plane with a goal and eight moves, to look at what a policy selects.

A grid is a picture: `#` is a wall, `S` the cell of the start, `G` that of the goal, and
a cell is 1 x 1 with the lower left corner of the picture at the origin. Positions are
continuous. A move goes one unit along one of eight directions; into a wall it goes
nowhere. The reward is minus the Euclidean distance to the goal, where episodes end.

After the figure on grid worlds of RPEX, arXiv 2509.24748, figure 2 and appendix C.1,
which gives the reward and the moves. Sizes, walls and the goal's radius are ours.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rpex_jax.envs.base import Env, EnvState
from rpex_jax.types import Array, Key, Spec

Grid = tuple[str, ...]

OPEN: Grid = (
    "         G",
    *8 * ("          ",),
    "S         ",
)
WALL: Grid = (
    "         G",
    *3 * ("          ",),
    "  ########",
    *4 * ("          ",),
    "         S",
)
GRIDS = {"open": OPEN, "wall": WALL}

RADIUS = 0.75  # of the goal
TIME_LIMIT = 100  # moves

_ANGLES = np.arange(8) * np.pi / 4
DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).round(12)  # [8, 2]


def centres(grid: Grid, marks: str) -> np.ndarray:
    """Centres of all cells with one of the marks, (x, y), [n, 2], from the top row."""
    top = len(grid) - 0.5
    found = [
        (column + 0.5, top - row)
        for row, cells in enumerate(grid)
        for column, cell in enumerate(cells)
        if cell in marks
    ]
    return np.array(found, np.float32).reshape(-1, 2)


def is_free(grid: Grid, positions: Array) -> Array:
    """Whether positions [..., 2] are on the grid and in no wall, [...]."""
    walls = jnp.array([[cell == "#" for cell in row] for row in grid[::-1]])
    column, row = jnp.moveaxis(jnp.floor(positions).astype(int), -1, 0)
    height, width = walls.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return inside & ~walls[row.clip(0, height - 1), column.clip(0, width - 1)]


def move(grid: Grid, positions: Array, directions: Array) -> Array:
    """Where a move ends: [..., 2].

    Args:
      grid: the plane.
      positions: where moves begin, [..., 2].
      directions: indices into `DIRECTIONS`, [...].
    """
    step = jnp.asarray(DIRECTIONS, jnp.float32)[directions]
    # half-way too, or a diagonal move would cut through the corner of a wall
    free = is_free(grid, positions + step) & is_free(grid, positions + step / 2)
    return jnp.where(free[..., None], positions + step, positions)


def make(grid: Grid = OPEN) -> Env:
    """The environment of a grid.

    Observations are positions, [2]. An action is a preference for each direction, [8];
    the move goes along the most preferred one, so a one-hot action is a direction and
    agents with continuous actions can act too.

    Raises:
      ValueError: rows differ in length, or there is not one start and one goal.
    """
    if len({len(row) for row in grid}) != 1:
        raise ValueError(
            f"rows of the grid have {sorted({*map(len, grid)})} cells; "
            "they must have equally many"
        )
    for mark, name in (("S", "start"), ("G", "goal")):
        if (count := len(centres(grid, mark))) != 1:
            raise ValueError(
                f"the grid has {count} cells {mark!r}; it must have one {name}"
            )
    return Env(
        name="gridworld",
        spec=Spec(observation_dim=2, action_dim=len(DIRECTIONS)),
        reset=functools.partial(reset, grid),
        step=functools.partial(step, grid),
        time_limit=TIME_LIMIT,
    )


def reset(grid: Grid, key: Key) -> EnvState:
    """Anywhere in the cell of the start."""
    corner = centres(grid, "S")[0] - 0.5
    return at(corner + jax.random.uniform(key, (2,)))


def at(position: Array) -> EnvState:
    """A new episode at a position, [2]."""
    no = jnp.zeros((), bool)
    zero, time = jnp.zeros(()), jnp.zeros((), jnp.int32)
    position = jnp.asarray(position, jnp.float32)
    return EnvState(position, position, zero, no, no, time, no)


def step(grid: Grid, state: EnvState, action: Array) -> EnvState:
    """One move along the most preferred direction."""
    position = move(grid, state.physics, action.argmax(-1))
    distance = jnp.linalg.norm(position - centres(grid, "G")[0])
    return state._replace(
        physics=position,
        observation=position,
        reward=-distance,
        terminated=distance < RADIUS,
        time=state.time + 1,
    )
