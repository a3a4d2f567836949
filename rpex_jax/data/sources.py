"""Where data sets come from: files, Minari, and the ones built into the package."""

import difflib
import importlib.resources
import os
import re
from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rpex_jax.data import compact
from rpex_jax.data.dataset import Dataset, DatasetError, assemble, validate


def load(
    source: str | os.PathLike,
    *,
    action_range: tuple[float, float] | None = None,
    drop_observation_columns: tuple[int, ...] = (),
) -> Dataset:
    """Loads a data set and checks it.

    Args:
      source: a `.npz` file, a D4RL file (`.hdf5` or `.h5`), the folder of a Minari data
        set, the id of a Minari data set (downloaded if it is not installed), or the
        name of a built-in set (see `builtin_names`).
      action_range: the lowest and highest action of the environment, scaled to [-1, 1];
        None takes a Minari set's own bounds, and (-1, 1) for everything else.
      drop_observation_columns: columns of the observations to leave out.

    Raises:
      DatasetError: what cannot be found, read or used, in one sentence.
    """
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        raise DatasetError(
            f"the source of the data is {source!r}: give a file, a folder, a Minari id "
            "or the name of a built-in set."
        )
    source = os.fspath(source)
    bounds: tuple[ArrayLike, ArrayLike] = (-1.0, 1.0)
    is_d4rl = source.endswith((".hdf5", ".h5"))
    if is_d4rl or source.endswith(".npz"):
        if not Path(source).is_file():
            what = "is a folder" if Path(source).exists() else "does not exist"
            raise DatasetError(f"{source} {what}: give the path of a file.")
        arrays = _read(_read_d4rl if is_d4rl else _read_npz, Path(source), source)
    elif source in builtin_names():
        arrays = _read(_read_npz, _builtin() / f"{source}.npz", source)
    else:
        arrays, bounds = _read(_read_minari, _minari_folder(source), source)
    bounds = bounds if action_range is None else action_range
    arrays = validate(arrays, source, bounds, drop_observation_columns)
    return assemble(_q_learning_view(arrays, source) if is_d4rl else arrays)


def builtin_names() -> list[str]:
    """The data sets that come with the package."""
    folder = _builtin()
    files = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    return sorted(name.removesuffix(".npz") for name in files if name.endswith(".npz"))


def _builtin() -> Traversable:
    return importlib.resources.files("rpex_jax.data") / "builtin"


def _read(reader: Callable[..., Any], file: Traversable, source: str) -> Any:
    """`reader(file, source)`, with every way to be broken turned into one error."""
    try:
        return reader(file, source)
    except DatasetError:
        raise
    except Exception as error:  # readers raise a dozen types on damaged files
        raise DatasetError(
            f"{source} cannot be read, it may be cut short or not of its type "
            f"({_brief(error)}); copy or download it again."
        ) from error


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _read_npz(file: Traversable, source: str) -> dict[str, np.ndarray]:
    with file.open("rb") as stream, np.load(stream) as npz:
        arrays = dict(npz)
    return compact.unpack(arrays) if compact.is_packed(arrays) else arrays


def _read_d4rl(file: Traversable, source: str) -> dict[str, np.ndarray]:
    """The fields of a D4RL file, each row with the next row's observation."""
    import h5py

    names = ("observations", "actions", "rewards", "terminals", "timeouts")
    with file.open("rb") as stream, h5py.File(stream) as h5:
        arrays = {name: h5[name][()] for name in names if name in h5}
    if missing := [name for name in names if name not in arrays]:
        raise DatasetError(
            f"{source} has no field {missing[0]!r}; a D4RL file must have {names}, and "
            "those of version v0, which lack 'timeouts', must be replaced by v2."
        )
    return arrays | {"next_observations": np.roll(arrays["observations"], -1, axis=0)}


def _q_learning_view(
    arrays: dict[str, np.ndarray], source: str
) -> dict[str, np.ndarray]:
    """D4RL's transitions: without the last row, and without rows at a time limit.

    Those have no next observation; the row after belongs to another episode.

    Source: D4RL, `d4rl/__init__.py`, `qlearning_dataset`.
    """
    rows = np.flatnonzero(arrays["timeouts"][:-1] == 0)
    if not rows.size:
        raise DatasetError(
            f"{source} is empty: none of its {len(arrays['timeouts'])} rows has a next "
            "observation, so it must hold longer episodes."
        )
    view = {name: array[rows] for name, array in arrays.items()}
    # the row before one that is left out is now the last of its episode
    return view | {"timeouts": arrays["timeouts"][rows + 1]}


def _minari_folder(source: str) -> Path:
    """The folder that holds the metadata and data of a Minari set; may download it."""
    if (folder := Path(source)).is_dir():
        return folder / "data" if (folder / "data").is_dir() else folder
    problem = "is no file, no folder, no built-in set and no Minari id (name-v0)"
    known = builtin_names()
    if re.fullmatch(r"[-\w/]+-v\d+", source):
        import minari
        from minari.storage import get_dataset_path

        folder = get_dataset_path(source) / "data"
        try:
            if not folder.is_dir():
                minari.download_dataset(source)
            return folder
        except Exception as error:  # whatever network and storage may raise
            problem = f"is not installed and could not be downloaded ({_brief(error)})"
        known += minari.list_local_datasets()
    nearest = difflib.get_close_matches(source, known, n=3)
    raise DatasetError(
        f"{source} {problem}"
        + (f", did you mean {' or '.join(nearest)}?" if nearest else "")
        + f" (built-in sets: {', '.join(builtin_names()) or 'none'})."
    )


def _read_minari(folder: Path, source: str) -> tuple[dict[str, np.ndarray], tuple]:
    """The arrays of a Minari set, and the bounds of its actions."""
    import minari
    from gymnasium.spaces import Box

    dataset = minari.MinariDataset(folder)
    spaces = {"observation": dataset.observation_space, "action": dataset.action_space}
    for name, space in spaces.items():
        parts = _parts(space) if name == "observation" else [space]
        if not all(isinstance(part, Box) and len(part.shape) == 1 for part in parts):
            raise DatasetError(
                f"{source} has the {name} space {space}; only a Box of one axis can be "
                "used, for observations also a Dict of them, so flatten it and record "
                "the set again."
            )
    episodes = [episode for episode in dataset.iterate_episodes() if len(episode)]
    if not episodes:
        raise DatasetError(f"{source} is empty: it must hold at least one episode.")
    observations = [
        np.concatenate(_parts(spaces["observation"], episode.observations), axis=-1)
        for episode in episodes
    ]
    arrays = {
        "observations": [of_episode[:-1] for of_episode in observations],
        "actions": [episode.actions for episode in episodes],
        "rewards": [episode.rewards for episode in episodes],
        "next_observations": [of_episode[1:] for of_episode in observations],
        "terminals": [episode.terminations for episode in episodes],
        # an episode ends where its recording does, marked or not
        "timeouts": [np.arange(len(e)) == len(e) - 1 for e in episodes],
    }
    low, high = spaces["action"].low, spaces["action"].high
    bounded = np.isfinite(low).all() and np.isfinite(high).all()
    arrays = {name: np.concatenate(parts) for name, parts in arrays.items()}
    return arrays, (low, high) if bounded else (-1.0, 1.0)


def _parts(space: Any, values: Any = None) -> list[Any]:
    """The spaces in a dictionary, or their values, in Gymnasium's order.

    So flattened observations are those of `gymnasium.wrappers.FlattenObservation`.
    """
    from gymnasium.spaces import Dict

    if not isinstance(space, Dict):
        return [space if values is None else values]
    return [
        part
        for name, inner in space.items()
        for part in _parts(inner, None if values is None else values[name])
    ]
