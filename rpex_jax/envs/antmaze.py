"""AntMaze: D4RL's ant looks for a goal that it is not shown.

A row a name of D4RL's in `TASKS`. The observation is all of qpos and qvel, x and y
first, [29]; a policy has to learn from the data where the goal is. The reward is 1
within 0.5 m of it, where the episode ends, and 0 elsewhere, so that D4RL's score is the
share of episodes that get there, in percent. A fall ends nothing.

An ant starts at the origin, in the cell R, and the goal is drawn anew in each episode,
in the cell G. This holds for `play` and `diverse` alike: they name how data were
collected, from hand-picked places or from anywhere, not what is evaluated. D4RL's v0
and v1 differ in one thing: their goal is drawn once, when the world is made.

D4RL's ant is Gymnasium's with another time step, weaker motors and softer contacts.

Source: D4RL, d4rl/locomotion/{__init__,ant,maze_env,goal_reaching_env}.py, ant.xml.
Gymnasium-Robotics has the same walls in another frame, Gymnasium's ant and other goals.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco

from rpex_jax.envs import bodies
from rpex_jax.envs.base import Env, EnvState
from rpex_jax.envs.physics import PhysicsState
from rpex_jax.envs.tasks import Task, asset
from rpex_jax.types import Array, Key

CELL = 4.0  # m
WALL = 2.0  # m high
RADIUS = 0.5  # m, of the goal

Maze = tuple[str, ...]  # rows of cells: # is a wall, R the start, G the goal

UMAZE: Maze = (
    "#####",
    "#R  #",
    "### #",
    "#G  #",
    "#####",
)
MEDIUM: Maze = (
    "########",
    "#R ##  #",
    "#  #   #",
    "##   ###",
    "#  #   #",
    "# #  # #",
    "#   # G#",
    "########",
)
LARGE: Maze = (
    "############",
    "#R   #     #",
    "# ## # # # #",
    "#      #   #",
    "# #### ### #",
    "#  # #     #",
    "## # # # ###",
    "#  #   # G #",
    "############",
)


class MazeState(NamedTuple):
    """A `PhysicsState`, and where to go."""

    qpos: Array  # [15]
    qvel: Array  # [14]
    qacc_warmstart: Array  # [14]
    goal: Array  # [2], x and y, m


def places(maze: Maze, mark: str) -> list[tuple[float, float]]:
    """The centres of all cells with a mark, x and y in m, row by row; R is at 0, 0."""
    cells = [(i, j) for i, row in enumerate(maze) for j in range(len(row))]
    ((row, column),) = (cell for cell in cells if maze[cell[0]][cell[1]] == "R")
    return [
        (CELL * (j - column), CELL * (i - row)) for i, j in cells if maze[i][j] == mark
    ]


def load_maze(xml: str, *, maze: Maze) -> mujoco.MjModel:
    """D4RL's ant among walls, a box each cell.

    Args:
      xml: Gymnasium's ant.
      maze: its rows go along y, its columns along x.
    """
    spec = mujoco.MjSpec.from_file(asset(xml))
    spec.option.timestep = 0.02  # s, not 0.01
    for motor in spec.actuators:
        motor.gear[0] = 30.0  # N m, not 150
    for x, y in places(maze, "#"):
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(x, y, WALL / 2),
            size=(CELL / 2, CELL / 2, WALL / 2),
            conaffinity=1,
            rgba=(0.7, 0.5, 0.3, 1.0),
        )
    for geom in spec.geoms:
        geom.solimp[:3] = 0.8, 0.8, 0.01  # not 0.9, 0.95, 0.001
    _limit_contacts(spec)
    _film_from_above(spec, maze)
    return spec.compile()


def with_goal(env: Env, cell: tuple[float, float]) -> Env:
    """An environment that pays 1 and ends at a goal, and pays nothing else.

    Args:
      env: one whose positions begin with x and y.
      cell: the centre of the cell of the goal, x and y in m.
    """

    def reset(key: Key) -> EnvState:
        key_start, key_goal = jax.random.split(key)
        state = env.reset(key_start)
        goal = draw_goal(key_goal, cell)
        return state._replace(physics=MazeState(*state.physics, goal))

    def step(state: EnvState, action: Array) -> EnvState:
        *physics, goal = state.physics
        after = env.step(state._replace(physics=PhysicsState(*physics)), action)
        distance = jnp.linalg.norm(after.physics.qpos[:2] - goal)
        reached = (distance <= RADIUS) & ~after.failed
        return after._replace(
            physics=MazeState(*after.physics, goal),
            reward=reached.astype(jnp.float32),
            terminated=after.terminated | reached,
        )

    return env._replace(reset=reset, step=step)


def draw_goal(key: Key, cell: tuple[float, float]) -> Array:
    """A goal up to 1.5 m from the centre of its cell, x and y in m; never beyond it.

    D4RL adds U(0, 1) and U(0, 0.5) to each coordinate, so goals lie to one side.
    """
    noise = jax.random.uniform(key, (2, 2)) * jnp.array([[1.0], [0.5]])
    return jnp.array(cell) + noise.sum(axis=0)


def _limit_contacts(spec: mujoco.MjSpec) -> None:
    """Lets MJX, which computes contacts of all with all, leave out what is far away.

    Of a capsule, at most three boxes are within reach, and an ant has 12 capsules.
    """
    # Unused, and MJX 3.17 would read the limits from its data.
    spec.delete(spec.numeric("init_qpos"))
    spec.add_numeric(name="max_geom_pairs", data=[36])
    spec.add_numeric(name="max_contact_points", data=[32])


def _film_from_above(spec: mujoco.MjSpec, maze: Maze) -> None:
    """One camera over the maze: walls would hide an ant that it followed."""
    for camera in spec.cameras:
        spec.delete(camera)
    floor = spec.geom("floor")  # checkered in black and white, where an ant is lost
    floor.material, floor.rgba = "", (0.2, 0.3, 0.4, 1.0)
    ((x, y),) = places(maze, "G")
    spec.worldbody.add_site(  # where goals are drawn
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(x + 0.75, y + 0.75, 0.0),
        size=(0.75, 0.75, 0.01),
        rgba=(0.9, 0.2, 0.2, 1.0),
    )
    (left, bottom), *_, (right, top) = places(maze, "#")
    width, depth = right - left + CELL, top - bottom + CELL
    height = max(depth, width * 3 / 4) / (2 * math.tan(math.radians(45 / 2)))
    spec.worldbody.add_camera(
        name="above", pos=((left + right) / 2, (bottom + top) / 2, 1.05 * height)
    )


def _task(maze: Maze, time_limit: int) -> Task:
    ((x, y),) = places(maze, "G")
    return Task(
        xml="ant.xml",
        load=partial(load_maze, maze=maze),
        wrap=partial(with_goal, cell=(x, y)),
        frame_skip=5,
        observe=bodies.observe_everything,
        healthy=bodies.always_healthy,
        pay=bodies.pay_nothing,
        position_noise=0.1,
        velocity_noise=0.1,
        normal_velocity=True,
        time_limit=time_limit,
    )


_UMAZE, _MEDIUM, _LARGE = _task(UMAZE, 700), _task(MEDIUM, 1000), _task(LARGE, 1000)

TASKS: dict[str, Task] = {
    "antmaze-umaze-v2": _UMAZE,
    "antmaze-umaze-diverse-v2": _UMAZE,
    "antmaze-medium-play-v2": _MEDIUM,
    "antmaze-medium-diverse-v2": _MEDIUM,
    "antmaze-large-play-v2": _LARGE,
    "antmaze-large-diverse-v2": _LARGE,
}
