"""Writes experience as a Minari data set, with Minari's own storage.

It grows on disk under a hidden name and gets its own name when it is whole, so that a
kill at any moment leaves the data set that was there before, or none.
"""

import contextlib
import copy
import ctypes
import fcntl
import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from rpex_jax.data import scores
from rpex_jax.data.dataset import (
    Dataset,
    DatasetError,
    check,
    episode_returns,
    episode_slices,
)

_HIDDEN = ".recording-"  # Minari lists no folder that begins with a dot


class Recording:
    """A data set that grows on disk; see `recording`."""

    def __init__(self, storage: Any, dataset_id: str, env_id: str):
        self._storage, self._id, self._env_id = storage, dataset_id, env_id
        self._returns: list[np.ndarray] = []

    def append(self, dataset: Dataset) -> None:
        """Adds whole episodes. One that ends without a termination is truncated.

        Raises:
          DatasetError: the data cannot be used.
        """
        dataset = check(dataset, self._id)
        slices = episode_slices(dataset, self._id)
        self.check_widths(
            dataset.transitions.observations.shape[-1],
            dataset.transitions.actions.shape[-1],
        )
        self._storage.update_episodes(
            _episodes(dataset, slices, self._storage.action_space)
        )
        self._returns.append(episode_returns(dataset))

    def check_widths(self, observation_dim: int, action_dim: int) -> None:
        """Raises a `DatasetError` unless the environment has these."""
        for name, width, space in (
            ("observations", observation_dim, self._storage.observation_space),
            ("actions", action_dim, self._storage.action_space),
        ):
            if space.shape != (width,):
                raise DatasetError(
                    f"The data set has {name} of shape {(width,)}, but {self._env_id} "
                    f"has {space.shape}; they must be the same to be recorded."
                )

    def finish(self, description: str = "", policy_return: float | None = None) -> Path:
        """Gives the data set its name; nothing can be added any more.

        Args:
          description: what is in it; returns and scores are added.
          policy_return: of the policy that it comes from; kept in the metadata.

        Returns:
          The folder of the data set.
        """
        if not self._returns:
            raise DatasetError(f"{self._id} is empty: no episode was recorded.")
        returns = np.concatenate(self._returns)
        metadata = {}
        summary = f"{len(returns)} episodes, mean return {returns.mean():.1f}"
        if policy_return is not None:
            metadata["policy_return"] = float(policy_return)
        if scores.has_reference(self._env_id):
            low, high = scores.reference_scores(self._env_id)
            metadata |= {"ref_min_score": low, "ref_max_score": high}
            score = scores.normalised_score(self._env_id, returns.mean())
            summary += f", D4RL score {score:.1f}"
            if policy_return is not None:
                score = scores.normalised_score(self._env_id, policy_return)
                metadata["policy_score"] = float(score)
        metadata["description"] = f"{description} {summary}.".strip()
        self._storage.update_metadata(metadata)
        return _put_in_place(self._storage.data_path.parent, self._id)


@contextlib.contextmanager
def recording(
    dataset_id: str,
    env_id: str,
    *,
    algorithm_name: str,
    author: str,
    command: str,
    code_permalink: str = "",
    overwrite: bool = False,
) -> Iterator[Recording]:
    """Opens a data set where Minari finds it (`MINARI_DATASETS_PATH`).

        with recording("hopper/noise-v0", "Hopper-v4", ...) as opened:
            opened.append(dataset)  # as often as needed
            opened.finish()

    Without `finish` nothing is left. Actions are stored in the environment's units.

    Args:
      dataset_id: Minari's name for it, `(namespace/)name-v0`.
      env_id: the environment's id, of Gymnasium's or a maze of ours: `Hopper-v4`.
      algorithm_name: who acted.
      author: who recorded it.
      command: what makes the data set again.
      code_permalink: where the code is; left out when empty.
      overwrite: `finish` may replace a data set, which stays until then.

    Raises:
      DatasetError: the id cannot be used, or the environment is unknown.
    """
    import minari
    from minari.dataset.minari_storage import MinariStorage
    from minari.storage import get_dataset_path

    check_id(dataset_id, overwrite)
    spec = _spec(env_id)
    metadata = {
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        "algorithm_name": algorithm_name,
        "author": {author},
        "command": command,
    }
    if code_permalink:
        metadata["code_permalink"] = code_permalink
    root = get_dataset_path()
    _remove_dead(root)
    with tempfile.TemporaryDirectory(dir=root, prefix=_HIDDEN) as temporary:
        with _locked(temporary):
            half = Path(temporary) / "dataset"
            half.mkdir()
            storage = MinariStorage.new(half / "data", env_spec=spec)
            storage.update_metadata(metadata)
            yield Recording(storage, dataset_id, env_id)


def record(
    dataset: Dataset, dataset_id: str, env_id: str, description: str = "", **about: Any
) -> Path:
    """Records a data set that is in memory; arguments as in `recording` and `finish`.

    Returns:
      The folder of the data set.

    Raises:
      DatasetError: the data or the id cannot be used, or the environment is unknown.
    """
    with recording(dataset_id, env_id, **about) as opened:
        opened.append(dataset)
        return opened.finish(description)


def _spec(env_id: str) -> gymnasium.envs.registration.EnvSpec:
    """What Gymnasium knows of an environment, in a form that can be stored."""
    from rpex_jax.envs import TASKS
    from rpex_jax.envs.bridge import gymnasium_spec

    module, _, name = env_id.rpartition(":")
    if name in TASKS and name not in gymnasium.registry:
        return gymnasium_spec(name)
    try:
        if module:  # "module:Name-v0": importing it registers the environment
            importlib.import_module(module)
        spec = copy.copy(gymnasium.spec(name))
    except (gymnasium.error.Error, ImportError) as error:
        raise DatasetError(
            f"{env_id} is no Gymnasium environment ({error}); give the id of one."
        ) from error
    if callable(maker := spec.entry_point):  # registered as a class
        spec.entry_point = f"{maker.__module__}:{maker.__qualname__}"
    return spec


def check_id(dataset_id: str, overwrite: bool = False) -> None:
    """Raises a `DatasetError` if nothing can be recorded under this name."""
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    try:
        parse_dataset_id(dataset_id)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{dataset_id!r} is no Minari id: it must be (namespace/)name-v0."
        ) from error
    if get_dataset_path(dataset_id).exists() and not overwrite:
        raise DatasetError(
            f"{dataset_id} exists already: raise its version number, or overwrite it."
        )


def _episodes(
    dataset: Dataset, slices: list[slice], space: gymnasium.spaces.Box
) -> Iterator[Any]:
    """Minari's episodes: one observation more than steps."""
    from minari.data_collector import EpisodeBuffer

    for rows in slices:
        episode = type(dataset.transitions)(*(x[rows] for x in dataset.transitions))
        terminations = episode.terminations.astype(bool)
        yield EpisodeBuffer(
            observations=np.concatenate(
                [episode.observations, episode.next_observations[-1:]]
            ),
            actions=episode.actions * ((space.high - space.low) / 2)
            + (space.high + space.low) / 2,
            rewards=episode.rewards,
            terminations=terminations,
            truncations=dataset.episode_ends[rows] & ~terminations,
        )


def _put_in_place(half: Path, dataset_id: str) -> Path:
    """Renames; a data set that was there comes to lie where `half` was, in one step."""
    from minari import namespace as namespaces
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    target = get_dataset_path(dataset_id)
    namespace, _, _ = parse_dataset_id(dataset_id)
    if namespace and namespace not in namespaces.list_local_namespaces():
        namespaces.create_namespace(namespace)
    if not target.exists():
        os.replace(half, target)
    elif not _exchange(half, target):  # for an instant there is neither
        os.replace(target, half.with_name("replaced"))
        os.replace(half, target)
    return target


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the system cannot."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux
    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    return swap is not None and not swap(
        here, os.fsencode(one), here, os.fsencode(other), exchange
    )


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Tells other processes that a recording lives; the lock dies with the process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _remove_dead(root: Path) -> None:
    """Removes what recordings left that were killed."""
    for folder in root.glob(_HIDDEN + "*"):
        with contextlib.suppress(OSError), _locked(str(folder)):
            shutil.rmtree(folder)
