"""What is recorded is read back the same, by us and by Minari, or is not there."""

import subprocess
import sys

import jax
import minari
import numpy as np
import pytest

from rpex_jax.data import recorder, sources
from rpex_jax.data.dataset import DatasetError, from_arrays


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
        algorithm_name="noise",
        author="tests",
        command="pytest",
        description="Noise.",
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


def test_record_refuses(minari_root, arrays, dataset):
    good = hopper_like(arrays)
    with pytest.raises(DatasetError, match=r"observations of shape \(3,\).*\(11,\)"):
        record_hopper(dataset)
    with pytest.raises(DatasetError, match="no Minari id"):
        record_hopper(good, "no version")
    with pytest.raises(DatasetError, match="no Gymnasium environment"):
        record_hopper(good, env_id="Hoper-v5")
    record_hopper(good)
    with pytest.raises(DatasetError, match="exists already"):
        record_hopper(good)


def test_a_killed_recording_leaves_nothing_that_is_listed(minari_root, arrays):
    """The process dies, without clean-up, after the first episode."""
    np.savez(minari_root.parent / "a.npz", **arrays)
    script = f"""
import os, numpy as np
from rpex_jax.data import recorder, sources
dataset = sources.load({str(minari_root.parent / "a.npz")!r})
t = dataset.transitions
dataset = dataset._replace(transitions=t._replace(actions=t.actions[:, :1]))
episodes = recorder._episodes
def dying(*args):
    yield next(episodes(*args))
    os._exit(7)
recorder._episodes = dying
recorder.record(dataset, "pendulum-v0", "Pendulum-v1", algorithm_name="a",
                author="b", command="c")
"""
    run = subprocess.run([sys.executable, "-c", script])
    assert run.returncode == 7
    assert minari.list_local_datasets() == {}
    assert not (minari_root / "pendulum-v0").exists()


def test_broken_minari_sets(minari_root, arrays):
    folder = record_hopper(hopper_like(arrays)) / "data"
    file = folder / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(DatasetError, match="cannot be read"):
        sources.load("test/hopper-v0")
    (folder / "metadata.json").unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        sources.load(folder)
