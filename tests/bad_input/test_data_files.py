"""Data sets that are missing, broken, of another kind, or that no agent can use."""

import operator
import zipfile
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
import pytest

from rpex_jax.data import compact, recorder, sources
from rpex_jax.data.dataset import (
    Dataset,
    DatasetError,
    check,
    episode_slices,
    from_arrays,
)
from rpex_jax.data.rewards import return_range_scale
from tests.bad_input.sentence import Says, assert_says
from tests.data.conftest import arrays, builtin, dataset, minari_root

__all__ = ["arrays", "builtin", "dataset", "minari_root"]  # fixtures

AGAIN = "copy or download it again"


def problem(function, *args, **settings) -> str:
    with pytest.raises(DatasetError) as error:
        function(*args, **settings)
    return str(error.value)


def write_npz(path, arrays):
    np.savez_compressed(path, **arrays)


def write_d4rl(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


WRITERS = {"npz": write_npz, "hdf5": write_d4rl}


# What a file holds


def put(name, value):
    """The fault of another field."""
    return lambda a: a.update({name: value(a[name]) if callable(value) else value})


def at(name, index, value):
    """The fault of one wrong value."""
    return lambda a: operator.setitem(a[name], index, value)


FAULTS = {
    "no rewards": (
        lambda a: a.pop("rewards"),
        Says("a.npz has no field", "'rewards'", "it must have 'observations'"),
    ),
    "no timeouts": (
        lambda a: a.pop("timeouts"),
        Says("a.npz has no field", "'timeouts'", "it must have"),
    ),
    "nothing": (lambda a: a.clear(), Says("a.npz has no field", "none", "must have")),
    "a row too few": (
        put("rewards", lambda x: x[:-1]),
        Says("a.npz has 14 rows of 'observations'", "13 of 'rewards'", "one row a tr"),
    ),
    "actions of one axis": (
        put("actions", lambda x: x[:, 0]),
        Says("a.npz has 'actions'", "(14,)", "it must be [N, width]"),
    ),
    "actions of no width": (
        put("actions", lambda x: x[:, :0]),
        Says("a.npz has 'actions'", "(14, 0)", "it must be [N, width]"),
    ),
    "observations of three axes": (
        put("observations", lambda x: x[..., None]),
        Says("a.npz has 'observations'", "(14, 3, 1)", "it must be [N, width]"),
    ),
    "rewards of two axes": (
        put("rewards", lambda x: x[:, None]),
        Says("a.npz has 'rewards'", "(14, 1)", "it must be [N]"),
    ),
    "one reward": (
        put("rewards", np.float32(1.0)),
        Says("a.npz has", "rows of 'observations' but 0 of 'rewards'", "must have one"),
    ),
    "narrow next observations": (
        put("next_observations", lambda x: x[:, :2]),
        Says("a.npz has 'next_observations'", "(14, 2)", "'observations', (14, 3)"),
    ),
    "NaN": (
        at("rewards", [6, 9], np.nan),
        Says("a.npz has NaN", "2 rows of 'rewards', first in row 6", "remove the rows"),
    ),
    "infinity": (
        at("observations", (7, 1), np.inf),
        Says("a.npz has", "1 rows of 'observations', first in row 7", "repair"),
    ),
    "minus infinity": (
        at("next_observations", 2, -np.inf),
        Says("a.npz has", "'next_observations', first in row 2", "repair or remove"),
    ),
    "too large for float32": (
        put("rewards", np.full(14, 1e300)),
        Says("a.npz has NaN or infinity", "14 rows of 'rewards'", "repair or remove"),
    ),
    "an action out of bounds": (
        at("actions", (8, 1), -1.7),
        Says("-1.7 in row 8, column 1 of 'actions'", "[-1, 1]", "pass action_range"),
    ),
    "half a terminal": (
        at("terminals", 5, 0.5),
        Says("a.npz has 0.5", "row 5 of 'terminals'", "only 0 and 1 are allowed"),
    ),
    "a timeout of 2": (
        at("timeouts", 1, 2),
        Says("a.npz has 2", "row 1 of 'timeouts'", "only 0 and 1 are allowed"),
    ),
    "no ends": (
        lambda a: a.update(terminals=np.zeros(14), timeouts=np.zeros(14)),
        Says("a.npz has no episode ends", "'terminals'", "set 'terminals' to 1"),
    ),
    "no rows": (
        lambda a: a.update({k: v[:0] for k, v in a.items()}),
        Says("a.npz is empty", "0 rows", "it must hold transitions"),
    ),
    "text": (
        put("actions", np.array(["a"] * 14)),
        Says("a.npz has 'actions'", "of type <U1", "it must be float32"),
    ),
    "complex numbers": (
        put("rewards", np.full(14, 1j)),
        Says("a.npz has 'rewards'", "of type complex128", "it must be float32"),
    ),
    "dates": (
        put("rewards", np.zeros(14, "datetime64[s]")),
        Says("a.npz has 'rewards'", "of type datetime64", "it must be float32"),
    ),
    "records": (
        put("rewards", np.zeros(14, [("x", "f4")])),
        Says("a.npz has 'rewards'", "of type", "it must be float32"),
    ),
    "objects": (
        put("rewards", np.array([{}] * 14)),
        Says("a.npz cannot be read", "Object arrays cannot be loaded", AGAIN),
    ),
    "a layout that is half compact": (
        lambda a: a.update(final_observations=np.zeros(3)),
        Says("a.npz cannot be read", "Error", AGAIN),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_file_holds(tmp_path, arrays, fault):
    """Rows and columns are counted as in the file."""
    break_it, expected = FAULTS[fault]
    break_it(arrays)
    write_npz(tmp_path / "a.npz", arrays)
    text = problem(sources.load, tmp_path / "a.npz")
    assert_says(text, expected)
    assert str(tmp_path / "a.npz") in text


def test_rows_of_different_lengths(arrays):
    """As arrays in memory may have them."""
    ragged = arrays | {"actions": [[0.0, 0.0]] * 13 + [[0.0]]}
    text = problem(from_arrays, ragged, "memory")
    assert_says(text, Says("memory has 'actions'", "of type object", "be float32"))


D4RL = {
    "no timeouts": (
        lambda a: a.pop("timeouts"),
        Says("a.hdf5 has no field", "'timeouts'", "must be replaced by v2"),
    ),
    "few rewards": (
        put("rewards", lambda x: x[:5]),
        Says("a.hdf5 has 14 rows of 'observations'", "5 of 'rewards'", "must have one"),
    ),
    "no rows": (
        lambda a: a.update({k: v[:0] for k, v in a.items()}),
        Says("a.hdf5 is empty", "0 rows", "must hold"),
    ),
    "one row": (
        lambda a: a.update({k: v[13:] for k, v in a.items()}),
        Says("a.hdf5 is empty", "none of its 1 rows", "must hold longer episodes"),
    ),
    "no ends": (
        lambda a: a.update(terminals=np.zeros(14), timeouts=np.zeros(14)),
        Says("a.hdf5 has no episode ends", "'timeouts'", "set 'terminals' to 1"),
    ),
    "NaN in rewards": (  # row 11 of the view
        at("rewards", 12, np.nan),
        Says("a.hdf5 has NaN", "'rewards', first in row 12", "repair or remove"),
    ),
    "NaN in timeouts": (
        at("timeouts", 12, np.nan),
        Says("a.hdf5 has NaN", "'timeouts', first in row 12", "repair or remove"),
    ),
    "text": (
        put("actions", np.array([b"a"] * 14)),
        Says("a.hdf5 has 'actions'", "of type", "it must be float32"),
    ),
}


@pytest.mark.parametrize("fault", D4RL)
def test_what_a_d4rl_file_holds(tmp_path, arrays, fault):
    """Rows are counted as in the file, which has more of them than D4RL's view."""
    break_it, expected = D4RL[fault]
    break_it(arrays)
    write_d4rl(tmp_path / "a.hdf5", arrays)
    assert_says(problem(sources.load, tmp_path / "a.hdf5"), expected)


def test_a_group_in_place_of_an_array(tmp_path, arrays):
    write_d4rl(tmp_path / "a.hdf5", {"observations/camera": arrays["observations"]})
    text = problem(sources.load, tmp_path / "a.hdf5")
    assert_says(text, Says("a.hdf5 cannot be read", "Error", AGAIN))


# Whether it is a file, and of which kind


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.9])
def test_a_file_that_is_cut_short(tmp_path, arrays, suffix, keep):
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, arrays)
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep > 1 else int(keep * len(content))])
    says = Says(f"{path} cannot be read", "it may be cut short", AGAIN)
    assert_says(problem(sources.load, path), says)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("content", ["other", "npy", "text", "bytes"])
def test_a_file_of_another_format(tmp_path, arrays, suffix, content):
    """Whatever its name says."""
    path = tmp_path / f"a.{suffix}"
    if content == "other":
        WRITERS["hdf5" if suffix == "npz" else "npz"](tmp_path / "b.npz", arrays)
        (tmp_path / "b.npz").rename(path)
    elif content == "npy":
        with open(path, "wb") as file:
            np.save(file, arrays["rewards"])
    else:
        path.write_bytes(b"a,b\n1,2\n" if content == "text" else bytes(range(256)))
    says = Says(f"{path} cannot be read", "not of its type", AGAIN)
    assert_says(problem(sources.load, path), says)


def test_damaged_bytes(tmp_path, arrays):
    path = tmp_path / "a.npz"
    write_npz(path, arrays)
    with zipfile.ZipFile(path) as file:
        offset = file.getinfo("rewards.npy").header_offset + 60
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = bytes(20)
    path.write_bytes(content)
    assert_says(problem(sources.load, path), Says(str(path), "cannot be read", AGAIN))


@pytest.mark.parametrize("suffix", WRITERS)
def test_no_file(tmp_path, suffix):
    missing, folder = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    folder.mkdir()
    for path, value in ((missing, "does not exist"), (folder, "is a folder")):
        says = Says(str(path), value, "give the path of a file")
        assert_says(problem(sources.load, path), says)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_that_may_not_be_read(tmp_path, arrays, suffix, monkeypatch):
    """Who runs the tests may be allowed everything, so that it is pretended."""
    path = tmp_path / f"a.{suffix}"
    WRITERS[suffix](path, arrays)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    says = Says(f"{path} cannot be read", "Permission denied", AGAIN)
    assert_says(problem(sources.load, path), says)


@pytest.mark.parametrize("source", [None, "", 3, b"a.npz", ("a.npz",)])
def test_a_source_that_is_none(source):
    says = Says("the source of the data is", repr(source), "give a file, a folder")
    assert_says(problem(sources.load, source), says)


# Minari, and what is built in


def test_an_unknown_name(builtin, dataset):
    compact.save_builtin(builtin / "hopper-medium-replay.npz", dataset)
    says = Says("hoper-medium-replay", "no built-in set", "mean hopper-medium-replay")
    assert_says(problem(sources.load, "hoper-medium-replay"), says)


@pytest.mark.parametrize("source", ["hopper", "hopper medium-v0", "README", "v0", "."])
def test_a_name_of_nothing(builtin, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    allowed = AGAIN if source == "." else "built-in sets: none"
    assert_says(problem(sources.load, source), Says(source, "", allowed))


def test_a_set_that_cannot_be_downloaded(minari_root, monkeypatch, builtin):
    def offline(dataset_id):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(minari, "download_dataset", offline)
    monkeypatch.setattr(minari, "list_local_datasets", lambda: {"hopper/medium-v0": 0})
    says = Says("hopper/mediun-v0", "no route", "did you mean hopper/medium-v0?")
    assert_says(problem(sources.load, "hopper/mediun-v0"), says)


def hopper_like(arrays):
    """The example with the widths of Hopper."""
    tiled = {k: np.tile(arrays[k], 4)[:, :11] for k in arrays if "observations" in k}
    actions = np.tile(arrays["actions"], 2)[:, :3]
    return from_arrays(arrays | tiled | {"actions": actions}, "example")


def record(dataset, dataset_id="test/hopper-v0", env_id="Hopper-v5"):
    about = {"algorithm_name": "noise", "author": "tests", "command": "pytest"}
    return recorder.record(dataset, dataset_id, env_id, **about)


def test_a_minari_set_that_is_broken(minari_root, arrays):
    folder = record(hopper_like(arrays)) / "data"
    file = folder / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:3000])
    says = Says("test/hopper-v0 cannot be read", "cut short", AGAIN)
    assert_says(problem(sources.load, "test/hopper-v0"), says)
    (folder / "metadata.json").unlink()
    says = Says(f"{folder} cannot be read", "cut short", AGAIN)
    assert_says(problem(sources.load, folder), says)


BOX = gymnasium.spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize(
    ("spaces", "expected"),
    [
        (
            (gymnasium.spaces.Dict({"count": gymnasium.spaces.Discrete(3)}), BOX),
            Says("set has the observation space", "Dict(", "flatten it"),
        ),
        (
            (gymnasium.spaces.Box(0, 1, (8, 8)), BOX),
            Says("set has the observation space", "(8, 8)", "a Box of one axis"),
        ),
        (
            (BOX, gymnasium.spaces.Discrete(3)),
            Says("set has the action space", "Discrete(3)", "a Box of one axis"),
        ),
        ((BOX, BOX), Says("set is", "empty", "must hold at least one episode")),
    ],
)
def test_a_minari_set_of_something_else(tmp_path, monkeypatch, spaces, expected):
    class Recorded:
        observation_space, action_space = spaces

        def iterate_episodes(self):
            return iter(())

    monkeypatch.setattr(minari, "MinariDataset", lambda folder: Recorded())
    (tmp_path / "set").mkdir()
    assert_says(problem(sources.load, tmp_path / "set"), expected)


# What is said about the data


@pytest.mark.parametrize(
    "bounds",
    [(1, -1), (0, 0), (0, np.nan), (-np.inf, np.inf), ("a", "b"), (0, 1, 2), (1,), 3],
)
def test_an_action_range_that_is_none(arrays, bounds):
    text = problem(from_arrays, arrays, "example", action_range=bounds)
    assert_says(text, Says("action_range is", str(bounds), "(low, high), low < high"))


def test_an_action_range_of_other_actions(arrays):
    bounds = (np.full(3, -1.0), np.ones(3))
    text = problem(from_arrays, arrays, "example", action_range=bounds)
    assert_says(text, Says("action_range has 3", "has 2 'actions'", "one for each"))


def test_scaled_actions_are_reported_as_the_file_has_them(arrays):
    arrays["actions"][3, 0] = 2.5
    text = problem(from_arrays, arrays, "example", action_range=(-2, 2))
    assert_says(text, Says("example has 2.5", "row 3, column 0", "[-2, 2]"))


@pytest.mark.parametrize("column", [3, -4, 1.5, "a"])
def test_a_column_that_cannot_be_dropped(arrays, column):
    text = problem(from_arrays, arrays, "example", drop_observation_columns=(column,))
    assert_says(text, Says("example has no column", str(column), "only 3"))


def test_all_columns_dropped(arrays):
    text = problem(from_arrays, arrays, "example", drop_observation_columns=(0, 1, 2))
    assert_says(text, Says("example has 'observations'", "(14, 0)", "[N, width]"))


# Data that were changed, or are to be written


def test_what_was_changed_later(dataset):
    transitions, ends = dataset
    bad = transitions._replace(terminations=np.r_[1.0, transitions.terminations[1:]])
    text = problem(check, dataset._replace(transitions=bad))
    assert_says(text, Says("the data set", "row 0", "must have 'episode_ends' true"))
    text = problem(check, dataset._replace(episode_ends=np.r_[ends[:-1], False]))
    assert_says(text, Says("the data set", "row 13", "must have 'episode_ends' true"))
    bad = transitions._replace(rewards=[np.nan] * 14)
    text = problem(check, dataset._replace(transitions=bad))
    assert_says(text, Says("the data set has NaN", "'rewards', first in row 0", "rep"))


def test_a_break_inside_an_episode(builtin, dataset):
    dataset.transitions.next_observations[6] += 1
    says = Says("'next_observations' in row 6", "row 7", "mark the break")
    assert_says(problem(episode_slices, dataset), says)
    text = problem(compact.save_builtin, builtin / "example.npz", dataset)
    assert_says(text, says)
    assert not list(builtin.iterdir())


def test_what_cannot_be_recorded(minari_root, arrays, dataset):
    good = hopper_like(arrays)
    record(good)
    wide = problem(record, dataset, "test/other-v0")
    assert_says(wide, Says("observations of shape", "(3,)", "(11,); they must be"))
    for dataset_id in ("no version", "", "a/b/c"):
        text = problem(record, good, dataset_id)
        assert_says(text, Says(dataset_id, "no Minari id", "(namespace/)name-v0"))
    text = problem(record, good, "test/other-v0", "Hoper-v5")
    assert_says(text, Says("Hoper-v5", "no Gymnasium environment", "Hopper"))
    text = problem(record, good, "test/other-v0", "no_module:Hopper-v5")
    assert_says(text, Says("no_module:Hopper-v5", "no Gymnasium environment", "modul"))
    text = problem(record, good)
    assert_says(text, Says("test/hopper-v0", "exists already", "overwrite it"))


def test_returns_that_give_no_scale(arrays):
    fields = arrays | {"rewards": np.zeros(14, np.float32)}
    alike: Dataset = from_arrays(fields, "example")
    text = problem(return_range_scale, alike, "example")
    says = Says("example has 'rewards'", "4 episodes of return 0 each", "two values")
    assert_says(text, says)
