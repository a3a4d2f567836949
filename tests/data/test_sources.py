"""Every kind of source gives the data set that is in it."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import gymnasium_robotics
import h5py
import jax
import minari
import numpy as np
import pytest

from rpex_jax.data import compact, sources
from rpex_jax.data.dataset import DatasetError, episode_returns

RECORDED = Path(__file__).parents[3] / "shared" / "data"
needs_recorded = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="recorded data sets are not there"
)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def write_d4rl(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def test_npz(tmp_path, arrays, dataset):
    np.savez(tmp_path / "a.npz", **arrays)
    assert_same(sources.load(tmp_path / "a.npz"), dataset)


@needs_recorded
def test_recorded_halfcheetah():
    dataset = sources.load(
        RECORDED / "neorl2_SafetyHalfCheetah-high-train.npz",
        drop_observation_columns=(0,),
    )
    assert dataset.transitions.observations.shape == (18_000, 17)
    returns = episode_returns(dataset)
    assert len(returns) == 18
    assert returns.mean() == pytest.approx(1769, abs=0.5)


@needs_recorded
def test_recorded_pendulum_learns():
    path = RECORDED / "rllib_pendulum-v1-replay.npz"
    returns = episode_returns(sources.load(path, action_range=(-2, 2)))
    assert len(returns) == 500
    # the file's own rewards, 198 of 200 steps an episode
    assert returns[:20].mean() == pytest.approx(-1015.8, abs=0.1)
    assert returns[-20:].mean() == pytest.approx(-139.9, abs=0.1)
    with pytest.raises(DatasetError, match="action_range"):
        sources.load(path)


def d4rl_view(file):
    """D4RL's loop over rows, written out."""
    rows = []
    for i in range(len(file["rewards"]) - 1):
        if not file["timeouts"][i]:
            names = ("observations", "actions", "rewards", "terminals")
            rows.append([file[name][i] for name in names])
            rows[-1].append(file["observations"][i + 1])
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("suffix", ["hdf5", "h5"])
@pytest.mark.parametrize("last", [0, 1])
def test_d4rl_is_its_q_learning_view(tmp_path, arrays, last, suffix):
    arrays["timeouts"][-1] = last  # D4RL files mostly stop inside an episode
    arrays["timeouts"][3] = 1  # both flags on one row: it is left out
    flags = {name: arrays[name].astype(bool) for name in ("terminals", "timeouts")}
    path = tmp_path / f"d4rl.{suffix}"
    write_d4rl(path, arrays | flags)
    transitions, ends = sources.load(path)
    observations, actions, rewards, terminals, next_observations = d4rl_view(arrays)
    np.testing.assert_array_equal(transitions.observations, observations)
    np.testing.assert_array_equal(transitions.actions, actions)
    np.testing.assert_array_equal(transitions.rewards, rewards)
    np.testing.assert_array_equal(transitions.terminations, terminals)
    np.testing.assert_array_equal(transitions.next_observations, next_observations)
    # rows 0 to 2 | 3 and 4 left out | 5 to 10, terminal | 11 and 12, the 13th left out
    np.testing.assert_array_equal(np.flatnonzero(ends), [2, 8, 10])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Minari asks for more metadata
def test_minari_and_d4rl_of_the_same_steps(minari_root, tmp_path):
    """Written by Minari's own collector, and by hand in D4RL's layout: equal arrays.

    D4RL's view has no row where a time limit or the file ends, and after a terminal
    one, where nothing is bootstrapped, it has the next episode's first observation.
    """
    env = minari.DataCollector(
        gymnasium.make("InvertedPendulum-v5", max_episode_steps=7)
    )
    env.action_space.seed(0)
    steps = []
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        terminated = truncated = False
        while not (terminated or truncated):
            action = env.action_space.sample()
            steps.append([observation, action])
            observation, reward, terminated, truncated, _ = env.step(action)
            steps[-1] += [reward, terminated, truncated and not terminated]
    env.create_dataset("test/pendulum-v0")
    names = ("observations", "actions", "rewards", "terminals", "timeouts")
    columns = dict(zip(names, map(np.array, zip(*steps, strict=True)), strict=True))
    assert columns["terminals"].sum() > 2 and columns["timeouts"].sum() > 2
    for name in names[:3]:
        columns[name] = columns[name].astype(np.float32)
    write_d4rl(tmp_path / "d4rl.hdf5", columns)

    ours = sources.load("test/pendulum-v0")
    view = sources.load(tmp_path / "d4rl.hdf5", action_range=(-3, 3))
    np.testing.assert_array_equal(ours.transitions.rewards, columns["rewards"])
    kept = ~columns["timeouts"]
    kept[-1] = False
    rows = jax.tree.map(lambda x: x[kept], ours.transitions)
    for name in ("observations", "actions", "rewards", "terminations"):
        assert_same(getattr(rows, name), getattr(view.transitions, name))
    alive = rows.terminations == 0
    assert_same(
        rows.next_observations[alive], view.transitions.next_observations[alive]
    )
    lasts = columns["terminals"] | np.roll(columns["timeouts"], -1)
    lasts[-2] = True
    np.testing.assert_array_equal(view.episode_ends, lasts[kept])


@pytest.fixture(scope="module")
def antmaze(tmp_path_factory):
    """Gymnasium-Robotics' steps in a set as `D4RL/antmaze/umaze-v1` is, by Minari.

    Where it is, and of every step: qpos, qvel, goal, reward, terminated, truncated and
    whether it was an episode's last, after it.
    """
    gymnasium.register_envs(gymnasium_robotics)
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("minari")
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        env = minari.DataCollector(
            gymnasium.make(
                "AntMaze_UMaze-v4", max_episode_steps=4, continuing_task=False
            )
        )
        here, world = np.array([3, 1]), env.unwrapped
        env.action_space.seed(0)
        steps = []
        for seed in (5, 6, 7):  # of the second the goal is where the ant starts
            env.reset(seed=seed, options={"goal_cell": here, "reset_cell": here})
            terminated = truncated = False
            while not (terminated or truncated):
                before = np.concatenate([world.data.qpos, world.data.qvel])
                action = env.action_space.sample()
                _, reward, terminated, truncated, _ = env.step(action)
                after = np.concatenate([world.data.qpos, world.data.qvel])
                steps.append([before, action, reward, after, terminated])
                steps[-1] += [terminated or truncated, world.goal]
        env.create_dataset("test/antmaze-v0")
        return root / "test/antmaze-v0", steps


@pytest.mark.filterwarnings("ignore::UserWarning")  # Minari asks for more metadata
def test_minaris_antmaze_has_d4rls_columns(antmaze):
    """Without the goal: qpos, x and y first, then qvel, as our mazes and D4RL's files.

    A goal is terminal, a time limit is not, and both end an episode.
    """
    folder, steps = antmaze
    columns = [np.array(column, np.float32) for column in zip(*steps, strict=True)]
    dataset = sources.load(folder, drop_observation_columns=(2, 3))
    before, actions, rewards, after, terminals, ends, _ = columns
    assert dataset.transitions.observations.shape[1] == 29
    for found, expected in zip(
        dataset.transitions, (before, actions, rewards, after, terminals), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(dataset.episode_ends, ends)
    assert terminals.sum() == 1 and ends.sum() == 3
    assert rewards[terminals == 1] == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dictionaries_are_flattened_as_gymnasium_does(antmaze):
    """So they fit the same world behind `envs.make`, which has the goal as well."""
    folder, steps = antmaze
    env = gymnasium.wrappers.FlattenObservation(gymnasium.make("AntMaze_UMaze-v4"))
    observations = sources.load(folder).transitions.observations
    assert observations.shape[1:] == env.observation_space.shape == (31,)
    for row, (state, *_, goal) in zip(observations, steps, strict=True):
        apart = {
            "observation": state[2:],
            "achieved_goal": state[:2],
            "desired_goal": goal,
        }
        np.testing.assert_array_equal(row, np.float32(env.observation(apart)))


def test_builtin_is_exact(builtin, dataset):
    compact.save_builtin(builtin / "example.npz", dataset)
    assert sources.builtin_names() == ["example"]
    assert_same(sources.load("example"), dataset)
    assert [path.name for path in builtin.iterdir()] == ["example.npz"]


def test_a_failed_write_leaves_the_old_file(builtin, dataset, monkeypatch):
    compact.save_builtin(builtin / "example.npz", dataset)

    def stop(stream, **arrays):
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", stop)
    with pytest.raises(KeyboardInterrupt):
        compact.save_builtin(builtin / "example.npz", dataset)
    assert [path.name for path in builtin.iterdir()] == ["example.npz"]
    assert_same(sources.load("example"), dataset)


def test_builtin_sets_of_the_package_load():
    for name in sources.builtin_names():
        sources.load(name)


def test_importing_does_no_work():
    script = """
import sys
from rpex_jax.data import buffer, recorder, scores, sources, statistics
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
assert not {"minari", "h5py"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
