"""What is recorded is read back the same, by us and by Minari, or is not there."""

import json
import operator
import signal
import subprocess
import sys

import jax
import minari
import numpy as np
import pytest

from rpex_jax.data import recorder, sources
from rpex_jax.data.dataset import DatasetError, episode_slices, from_arrays
from rpex_jax.envs.bridge import GymnasiumEnv

ABOUT = {"algorithm_name": "noise", "author": "tests", "command": "pytest"}


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def hopper_like(arrays):
    """The example with the widths of Hopper."""
    tiled = {k: np.tile(arrays[k], 4)[:, :11] for k in arrays if "observations" in k}
    actions = np.tile(arrays["actions"], 2)[:, :3]
    return from_arrays(arrays | tiled | {"actions": actions}, "example")


def record_hopper(dataset, dataset_id="test/hopper-v0", env_id="Hopper-v5"):
    return recorder.record(
        dataset,
        dataset_id,
        env_id,
        description="Noise.",
        **ABOUT,
    )


def test_recorded_set_is_the_same_again(minari_root, arrays):
    dataset = hopper_like(arrays)
    folder = record_hopper(dataset)
    assert_same(sources.load("test/hopper-v0"), dataset)
    assert_same(sources.load(folder), dataset)
    assert_same(sources.load(folder / "data"), dataset)


def test_minari_reads_what_was_recorded(minari_root, arrays):
    dataset = hopper_like(arrays)
    record_hopper(dataset)
    assert list(minari.list_local_datasets()) == ["test/hopper-v0"]
    loaded = minari.load_dataset("test/hopper-v0")
    assert (loaded.total_episodes, loaded.total_steps) == (4, 14)
    assert loaded.env_spec.id == "Hopper-v5"
    episodes = list(loaded.iterate_episodes())
    assert [bool(x.terminations[-1]) for x in episodes] == [True, False, True, False]
    assert [bool(x.truncations[-1]) for x in episodes] == [False, True, False, True]
    assert [len(x.observations) for x in episodes] == [5, 2, 7, 4]
    metadata = loaded.storage.metadata
    assert metadata["command"] == "pytest" and metadata["author"] == {"tests"}
    assert metadata["algorithm_name"] == "noise"
    assert metadata["ref_max_score"] == 3234.3
    assert "4 episodes, mean return" in metadata["description"]
    assert "D4RL score" in metadata["description"]
    assert minari.get_normalized_score(loaded, 3234.3) == pytest.approx(1)
    env = loaded.recover_environment()
    assert env.observation_space.shape == (11,)


def test_actions_are_recorded_in_the_units_of_the_environment(minari_root, arrays):
    arrays["actions"] = arrays["actions"][:, :1]
    dataset = from_arrays(arrays, "example")
    record_hopper(dataset, "pendulum-v0", "Pendulum-v1")
    actions = next(minari.load_dataset("pendulum-v0").iterate_episodes()).actions
    np.testing.assert_allclose(actions, 2 * arrays["actions"][:4])
    assert_same(sources.load("pendulum-v0"), dataset)


def test_a_maze_that_gymnasium_does_not_have_is_recorded_too(minari_root, arrays):
    """D4RL's mazes; what was recorded knows how to make its world again."""
    tiled = {k: np.tile(arrays[k], 10)[:, :29] for k in arrays if "observations" in k}
    tiled["actions"] = np.tile(arrays["actions"], 4)
    dataset = from_arrays(arrays | tiled, "example")
    record_hopper(dataset, "test/maze-v0", "antmaze-umaze-v2")
    assert_same(sources.load("test/maze-v0"), dataset)
    env = minari.load_dataset("test/maze-v0").recover_environment()
    assert env.spec.max_episode_steps == 700
    assert isinstance(env.unwrapped, GymnasiumEnv)
    assert (env.observation_space.shape, env.action_space.shape) == ((29,), (8,))


def test_growing_by_episodes_is_recording_at_once(minari_root, arrays):
    """The same data and, but for the name, the same metadata."""
    dataset = hopper_like(arrays)
    whole = record_hopper(dataset, "test/whole-v0")
    with recorder.recording("test/grown-v0", "Hopper-v5", **ABOUT) as opened:
        for rows in episode_slices(dataset):
            opened.append(jax.tree.map(operator.itemgetter(rows), dataset))
            assert list(minari.list_local_datasets()) == ["test/whole-v0"]
        grown = opened.finish("Noise.")
    assert_same(sources.load("test/grown-v0"), dataset)
    one, other = (
        json.loads((folder / "data" / "metadata.json").read_text())
        for folder in (whole, grown)
    )
    assert one | {"dataset_id": 0} == other | {"dataset_id": 0}


def test_what_is_known_of_the_policy(minari_root, arrays):
    """Its return and score stand beside those of the data."""
    with recorder.recording("test/hopper-v0", "Hopper-v5", **ABOUT) as opened:
        opened.append(hopper_like(arrays))
        opened.finish(policy_return=(3234.3 - 20.272305) / 2)
    metadata = minari.load_dataset("test/hopper-v0").storage.metadata
    assert metadata["policy_return"] == pytest.approx(1607.01, abs=0.01)
    assert metadata["policy_score"] == pytest.approx(50)


def test_a_recording_that_is_not_finished_leaves_nothing(minari_root, arrays):
    """Neither after an error nor without one; and an empty one cannot be finished."""
    with pytest.raises(KeyboardInterrupt):
        with recorder.recording("test/hopper-v0", "Hopper-v5", **ABOUT) as opened:
            opened.append(hopper_like(arrays))
            raise KeyboardInterrupt
    with recorder.recording("test/hopper-v0", "Hopper-v5", **ABOUT) as opened:
        with pytest.raises(DatasetError, match="no episode was recorded"):
            opened.finish()
    assert list(minari_root.iterdir()) == []


@pytest.mark.parametrize("in_one_step", [True, False])
def test_overwriting(minari_root, arrays, monkeypatch, in_one_step):
    """The old data set stays until the new one is whole, then it is gone."""
    if not in_one_step:  # a file system that cannot swap
        monkeypatch.setattr(recorder, "_exchange", lambda one, other: False)
    dataset = hopper_like(arrays)
    other = jax.tree.map(lambda x: x[:4], dataset)
    record_hopper(dataset)
    options = ABOUT | {"overwrite": True}
    with recorder.recording("test/hopper-v0", "Hopper-v5", **options) as opened:
        opened.append(other)
        assert_same(sources.load("test/hopper-v0"), dataset)
        opened.finish()
    assert_same(sources.load("test/hopper-v0"), other)
    assert [path.name for path in minari_root.iterdir()] == ["test"]


DYING = """
import sys, time
from rpex_jax.data import recorder, sources
with recorder.recording("test/hopper-v0", "Hopper-v5", algorithm_name="a", author="b",
                        command="c", overwrite=True) as opened:
    opened.append(sources.load("test/other-v0"))
    print("appended", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("before", [True, False])
def test_a_killed_recording_leaves_the_old_data_set_or_none(
    minari_root, arrays, before
):
    """kill -9 with an episode on disk; the next recording clears it away."""
    dataset = hopper_like(arrays)
    record_hopper(jax.tree.map(lambda x: x[:4], dataset), "test/other-v0")
    if before:
        record_hopper(dataset)
    with subprocess.Popen(
        [sys.executable, "-c", DYING], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "appended\n"
        # while it lives, others leave what it has written alone
        record_hopper(dataset, "test/third-v0")
        left = list(minari_root.glob(".recording-*/dataset/data/main_data.hdf5"))
        process.send_signal(signal.SIGKILL)
    assert len(left) == 1 and left[0].stat().st_size > 0
    listed = set(minari.list_local_datasets())
    assert listed - {"test/hopper-v0"} == {"test/other-v0", "test/third-v0"}
    assert ("test/hopper-v0" in listed) == before
    if before:
        assert_same(sources.load("test/hopper-v0"), dataset)
    record_hopper(dataset, "test/fourth-v0")
    assert [path.name for path in minari_root.iterdir()] == ["test"]
