"""AntMaze against Gymnasium-Robotics' mazes and D4RL's numbers.

Gymnasium-Robotics has D4RL's walls with the origin in their middle and y upwards, and
takes any ant: here its maps are turned over, and what it is given and gives is shifted.
"""

import functools
import xml.etree.ElementTree as ElementTree

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from gymnasium_robotics.envs.maze import maps
from gymnasium_robotics.envs.maze.ant_maze_v5 import AntMazeEnv
from scipy.stats import ks_2samp

from rpex_jax import envs
from rpex_jax.envs import antmaze, episodes, tasks
from tests.envs.test_parity import TOLERANCE, deviation

# A name of each maze, Gymnasium-Robotics' map, and the cells that D4RL ends in.
MAZES = {
    "antmaze-umaze-v2": (maps.U_MAZE, (3, 1)),
    "antmaze-medium-play-v2": (maps.MEDIUM_MAZE, (6, 6)),
    "antmaze-large-diverse-v2": (maps.LARGE_MAZE, (7, 9)),
}
UMAZE, MEDIUM, LARGE = MAZES
COUNT, STEPS = 24, 15


def shift(name):
    """What Gymnasium-Robotics adds to our x and y: all start in cell (1, 1)."""
    cells, _ = MAZES[name]
    return np.array([6.0 - 2 * len(cells[0]), 6.0 - 2 * len(cells)])


@pytest.fixture(scope="module")
def d4rl_ant(tmp_path_factory):
    """D4RL's ant as a file: Gymnasium's, but for what D4RL's ant.xml has otherwise."""
    tree = ElementTree.parse(tasks.asset("ant.xml"))
    tree.find("option").set("timestep", "0.02")
    tree.find("default/geom").set("solimp", ".8 .8 .01")
    for motor in tree.iter("motor"):
        motor.set("gear", "1")
        motor.set("ctrlrange", "-30 30")
    path = tmp_path_factory.mktemp("ant") / "ant.xml"
    tree.write(path)
    return str(path)


@pytest.fixture(scope="module")
def robotics(d4rl_ant):
    """Gymnasium-Robotics' maze of a task of ours."""
    return lambda name: AntMazeEnv(
        maze_map=MAZES[name][0][::-1],
        xml_file=d4rl_ant,
        include_cfrc_ext_in_observation=False,
        continuing_task=False,
    )


def starts(name, count):
    """Ants all over the maze, also close to walls: NumPy positions and velocities."""
    rng = np.random.default_rng(5)
    cells = np.argwhere(np.array(MAZES[name][0]) == 0)
    rows, columns = cells[rng.integers(len(cells), size=count)].T
    centres = 4.0 * np.stack([columns - 1, rows - 1], axis=1)
    model = tasks.load_model(envs.TASKS[name])
    qpos = model.qpos0 + rng.uniform(-0.1, 0.1, (count, model.nq))
    qpos[:, :2] = centres + rng.uniform(-1.3, 1.3, (count, 2))
    qpos[:, 8::2] += [1.0, -1.0, -1.0, 1.0]  # knees bent, so that no foot is in a wall
    qvel = rng.normal(0.0, 1.0, (count, model.nv))
    qvel[:, :2] *= 3.0
    return qpos.astype(np.float32), qvel.astype(np.float32)


def state_at(env, qpos, qvel):
    """A state of the environment there; its goal is as after a reset."""
    state = env.reset(jax.random.key(0))
    physics = state.physics._replace(qpos=jnp.asarray(qpos), qvel=jnp.asarray(qvel))
    return state._replace(physics=physics)


@pytest.mark.parametrize("name", MAZES)
def test_bodies_are_those_of_gymnasium_robotics(name, robotics):
    ours, theirs = tasks.load_model(envs.TASKS[name]), robotics(name).model
    different = {
        *("geom_pos", "geom_rgba", "geom_matid"),
        # D4RL's controls are torques, ours a share of the largest one.
        *("actuator_gear", "actuator_ctrlrange", "actuator_acc0"),
    }
    fields = [
        field
        for field in dir(theirs)
        if field.startswith(("geom_", "body_", "jnt_", "dof_", "actuator_", "qpos"))
        and field not in different
    ]
    assert len(fields) > 60
    for field in fields:
        one, other = getattr(ours, field), getattr(theirs, field)
        np.testing.assert_array_equal(one, other, err_msg=field)
    for field in (x for x in dir(theirs.opt) if not x.startswith("_")):
        one, other = getattr(ours.opt, field), getattr(theirs.opt, field)
        np.testing.assert_array_equal(one, other, err_msg=field)
    torques = ours.actuator_gear[:, :1] * ours.actuator_ctrlrange
    np.testing.assert_array_equal(torques, theirs.actuator_ctrlrange)

    walls = ours.geom_type == mujoco.mjtGeom.mjGEOM_BOX
    moved = theirs.geom_pos[walls] - [*shift(name), 0.0]
    np.testing.assert_array_equal(
        np.sort(ours.geom_pos[walls], axis=0), np.sort(moved, axis=0)
    )
    assert set(map(tuple, ours.geom_pos[walls])) == set(map(tuple, moved))
    np.testing.assert_array_equal(ours.geom_pos[~walls], theirs.geom_pos[~walls])


@pytest.fixture(scope="module")
def cases(robotics):
    """Of a task: states on trajectories along walls, actions, and what comes of them.

    Gymnasium-Robotics' observations in our frame, whether it paid, and whether walls
    were touched.
    """

    @functools.cache
    def of(name):
        env, theirs = envs.make(name, "mujoco"), robotics(name)
        theirs.reset(seed=0)
        step = jax.jit(jax.vmap(env.step))
        rng = np.random.default_rng(6)
        actions = rng.uniform(-1, 1, (STEPS, COUNT, 8)).astype(np.float32)
        states = [jax.vmap(functools.partial(state_at, env))(*starts(name, COUNT))]
        for action in actions[1:]:
            states.append(step(states[-1], action))
        states = jax.tree.map(lambda *x: np.concatenate(x), *states)
        # Goals around the ants, so that some are reached.
        goals = states.physics.qpos[:, :2] + rng.uniform(-0.7, 0.7, (STEPS * COUNT, 2))
        states = states._replace(
            physics=states.physics._replace(goal=goals.astype(np.float32))
        )
        actions = actions.reshape(-1, 8)
        outcomes = [
            robotics_step(theirs, name, *x)
            for x in zip(*states.physics[:2], states.physics.goal, actions, strict=True)
        ]
        return states, actions, [np.array(x) for x in zip(*outcomes, strict=True)]

    return of


def robotics_step(env, name, qpos, qvel, goal, action):
    """Observation in our frame, reward, and whether walls were touched on the way."""
    place = [*shift(name), *np.zeros(13)]
    start = qpos + place, qvel.astype(float)
    env.ant_env.set_state(*start)
    env.goal = goal + shift(name)
    outcome, reward, terminated, *_ = env.step(30.0 * action)
    assert reward == terminated
    xy = outcome["achieved_goal"] - shift(name)

    env.ant_env.set_state(*start)
    touched = touches_walls(env)
    for _ in range(5):
        mujoco.mj_step(env.model, env.data)
        touched |= touches_walls(env)
    return np.concatenate([xy, outcome["observation"]]), reward, touched


def touches_walls(env):
    geoms = env.data.contact.geom
    return (env.model.geom_type[geoms] == mujoco.mjtGeom.mjGEOM_BOX).any()


@pytest.mark.parametrize("name", MAZES)
def test_steps_agree_with_gymnasium_robotics(name, cases, report):
    states, actions, (observations, rewards, touched) = cases(name)
    after = jax.jit(jax.vmap(envs.make(name, "mujoco").step))(states, actions)
    off = deviation(after.observation, observations)
    distance = np.linalg.norm(observations[:, :2] - states.physics.goal, axis=1)
    reached = distance <= 0.5
    disagree = int((after.terminated != reached).sum())
    report("mujoco", name, len(off), int(reached.sum()), off.max(), 0.0, disagree)
    nearly_all, largest = TOLERANCE["mujoco"]
    assert np.quantile(off, 0.95) <= nearly_all
    assert off.max() <= largest
    assert disagree == 0 and not after.failed.any()
    np.testing.assert_array_equal(after.reward, after.terminated)
    # Gymnasium-Robotics' goal is smaller, 0.45 m.
    np.testing.assert_array_equal(rewards, distance <= 0.45)
    assert 0.1 < touched.mean() < 0.9  # the test saw every case
    assert 0.2 < reached.mean() < 0.8


@pytest.mark.slow
def test_mjx_steps_agree_but_for_the_margin_of_walls(cases, report):
    """MJX feels a wall when it is touched, MuJoCo's C library 2 cm before."""
    states, actions, (observations, _, touched) = cases(LARGE)
    every = slice(None, None, 5)
    states, actions = jax.tree.map(lambda x: x[every], (states, actions))
    observations, touched = observations[every], touched[every]
    after = jax.jit(jax.vmap(envs.make(LARGE, "mjx").step))(states, actions)
    off = deviation(after.observation, observations)
    worst = off[~touched].max()
    report("mjx", LARGE, len(off), int(after.terminated.sum()), worst, 0.0, 0)
    nearly_all, largest = TOLERANCE["mjx"]
    assert np.quantile(off[~touched], 0.95) <= nearly_all and worst <= largest
    assert touched.sum() > 5 and not after.failed.any()
    # The wall holds all the same: nobody is elsewhere by more than that.
    assert deviation(after.observation[:, :2], observations[:, :2]).max() < 0.02


@pytest.mark.parametrize("name", antmaze.TASKS)
def test_resets_are_those_of_d4rl(name):
    """Around the origin; goals up to 1.5 m to one side of the centre of a cell."""
    env = envs.make(name)
    states = jax.vmap(env.reset)(jax.random.split(jax.random.key(2), 2_000))
    assert env.spec == (29, 8)
    assert env.time_limit == (700 if "umaze" in name else 1000)  # D4RL registers them
    qpos, qvel, _, goals = states.physics
    np.testing.assert_array_equal(
        states.observation, np.concatenate([qpos, qvel], axis=1)
    )
    noise = np.asarray(qpos - tasks.load_model(envs.TASKS[name]).qpos0)
    assert 0.099 < noise.max() <= 0.1 + 1e-6 and -0.1 - 1e-6 <= noise.min() < -0.099
    assert np.std(qvel) == pytest.approx(0.1, rel=0.02)
    size = next(size for size in ("umaze", "medium", "large") if size in name)
    row, column = next(cell for key, (_, cell) in MAZES.items() if size in key)
    # D4RL: the centre, plus U(0, 0.25) of a cell, plus U(0, 0.5) of a quarter cell.
    rng = np.random.default_rng(0)
    drawn = rng.uniform(0, 1.0, (2_000, 2)) + rng.uniform(0, 0.5, (2_000, 2))
    offsets = np.asarray(goals) - [4.0 * (column - 1), 4.0 * (row - 1)]
    assert offsets.min() >= 0 and offsets.max() <= 1.5
    for i in range(2):
        assert ks_2samp(offsets[:, i], drawn[:, i]).pvalue > 1e-3
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.1


def test_the_goal_ends_the_episode_and_is_kept():
    """Until there the episode goes on, lying on its back or not."""
    env = envs.make(UMAZE)
    step = jax.jit(jax.vmap(env.step))
    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(4), 4))
    goal = state.physics.goal
    # There, close by, far away, and far away upside down.
    qpos = state.physics.qpos.at[0, :2].set(goal[0] + jnp.array([0.3, 0.0]))
    qpos = qpos.at[1, :2].set(goal[1] + jnp.array([0.0, 0.8]))
    qpos = qpos.at[3, 3:7].set(jnp.array([0.0, 1.0, 0.0, 0.0])).at[3, 2].set(0.1)
    qvel = jnp.zeros_like(state.physics.qvel)
    state = state._replace(physics=state.physics._replace(qpos=qpos, qvel=qvel))
    after = step(state, jnp.zeros((4, 8)))
    assert after.terminated.tolist() == [True, False, False, False]
    assert after.reward.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert after.time.tolist() == [1] * 4
    np.testing.assert_array_equal(after.physics.goal, goal)
    # Where physics fails, at the goal or not, nothing is paid.
    after = step(state, jnp.full((4, 8), jnp.nan))
    assert after.failed.all() and after.terminated.all() and not after.reward.any()


def test_episodes_end_by_time_or_at_the_goal():
    """In the loop of training: a goal that comes to the ant, and a new one after."""
    env = envs.make(UMAZE)._replace(time_limit=3)
    step = jax.jit(functools.partial(episodes.step, env=env))
    state, seen = episodes.reset(jax.random.key(0), env), []
    for i in range(5):
        if i == 1:
            here = state.env.physics._replace(goal=state.env.physics.qpos[:2])
            state = state._replace(env=state.env._replace(physics=here))
        state, transition, episode = step(
            jax.random.key(i), state=state, action=jnp.zeros(8)
        )
        seen.append(
            (
                bool(episode.ended),
                float(transition.terminations),
                float(episode.episode_return),
                int(episode.length),
            )
        )
    assert seen == [
        (False, 0.0, 0.0, 1),
        (True, 1.0, 1.0, 2),
        (False, 0.0, 0.0, 1),
        (False, 0.0, 0.0, 2),
        (True, 0.0, 0.0, 3),
    ]
    assert jnp.abs(state.env.physics.goal - jnp.array([0.75, 8.75])).max() <= 0.75


def test_alone_equals_batched():
    env = envs.make(MEDIUM)
    keys = jax.random.split(jax.random.key(3), 4)
    actions = jax.random.uniform(jax.random.key(4), (4, 8), minval=-1.0)
    many = jax.jit(jax.vmap(env.step))(jax.vmap(env.reset)(keys), actions)
    for i in range(4):
        alone = env.step(env.reset(keys[i]), actions[i])
        for one, batched in zip(*map(jax.tree.leaves, (alone, many)), strict=True):
            np.testing.assert_allclose(one, batched[i], rtol=1e-6, atol=1e-6)


def test_names_of_a_maze_share_an_engine():
    moves = []

    def maker(*args):
        moves.append(args)
        return lambda state, control: (state, ())

    play, diverse = (
        envs.make(f"antmaze-large-{x}-v2", maker) for x in ("play", "diverse")
    )
    assert play.name != diverse.name
    assert len(moves) == 1


@pytest.mark.parametrize("name", MAZES)
def test_the_camera_sees_all_of_a_maze(name):
    """In a picture of 640 x 480, from straight above, and not much beside it."""
    model = tasks.load_model(envs.TASKS[name])
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.cam_xmat[0], np.eye(3).ravel(), atol=1e-12)
    walls = data.geom_xpos[model.geom_type == mujoco.mjtGeom.mjGEOM_BOX]
    corners = np.abs(walls - data.cam_xpos[0])[:, :2] + 2.0
    half = data.cam_xpos[0, 2] * np.tan(np.radians(model.cam_fovy[0] / 2))
    filled = (corners / [half * 4 / 3, half]).max()
    assert model.ncam == 1 and 0.9 < filled < 1
