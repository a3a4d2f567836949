"""Writes experience as a Minari data set, with Minari's own storage."""

import os
import tempfile
from pathlib import Path

import numpy as np

from rpex_jax.data import scores
from rpex_jax.data.dataset import (
    Dataset,
    DatasetError,
    check,
    episode_returns,
    episode_slices,
)


def record(
    dataset: Dataset,
    dataset_id: str,
    env_id: str,
    *,
    algorithm_name: str,
    author: str,
    command: str,
    description: str = "",
    code_permalink: str = "",
) -> Path:
    """Writes a data set where Minari finds it (`MINARI_DATASETS_PATH`).

    It is written under a hidden name, then renamed, so what Minari lists is whole. An
    episode that ends without a termination is stored as truncated. Actions are stored
    in the environment's units.

    Args:
      dataset: the experience.
      dataset_id: Minari's name for it, `(namespace/)name-v0`; must be new.
      env_id: the Gymnasium id of the environment, `Hopper-v4`.
      algorithm_name: who acted.
      author: who recorded it.
      command: what makes the data set again.
      description: what is in it; returns and scores are added.
      code_permalink: where the code is; left out when empty.

    Returns:
      The folder of the data set.

    Raises:
      DatasetError: the data or the id cannot be used, or the environment is unknown.
    """
    import minari
    from minari import namespace as namespaces
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.dataset.minari_storage import MinariStorage
    from minari.storage import get_dataset_path

    dataset = check(dataset, dataset_id)
    slices = episode_slices(dataset, dataset_id)
    spec, space = _environment(env_id, dataset)
    try:
        namespace, _, _ = parse_dataset_id(dataset_id)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{dataset_id} is no Minari id: it must be (namespace/)name-v0."
        ) from error
    folder = get_dataset_path(dataset_id)
    if folder.exists():
        raise DatasetError(f"{dataset_id} exists already: raise its version number.")

    returns = episode_returns(dataset)
    summary = f"{len(returns)} episodes, mean return {returns.mean():.1f}"
    metadata = {
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        "algorithm_name": algorithm_name,
        "author": {author},
        "command": command,
    }
    if scores.has_reference(env_id):
        low, high = scores.reference_scores(env_id)
        metadata |= {"ref_min_score": low, "ref_max_score": high}
        score = scores.normalised_score(env_id, returns.mean())
        summary += f", D4RL score {score:.1f}"
    metadata["description"] = f"{description} {summary}.".strip()
    if code_permalink:
        metadata["code_permalink"] = code_permalink

    if namespace and namespace not in namespaces.list_local_namespaces():
        namespaces.create_namespace(namespace)
    root = get_dataset_path()
    with tempfile.TemporaryDirectory(dir=root, prefix=".recording-") as temporary:
        half = Path(temporary) / "dataset"
        half.mkdir()
        storage = MinariStorage.new(half / "data", env_spec=spec)
        storage.update_metadata(metadata)
        storage.update_episodes(_episodes(dataset, slices, space.low, space.high))
        os.replace(half, folder)
    return folder


def _environment(env_id: str, dataset: Dataset):
    """The spec and the action space of an environment that fits the data."""
    import gymnasium

    try:
        env = gymnasium.make(env_id)
    except gymnasium.error.Error as error:
        raise DatasetError(f"{env_id} is no Gymnasium environment: {error}") from error
    for name, space in (
        ("observations", env.observation_space),
        ("actions", env.action_space),
    ):
        width = getattr(dataset.transitions, name).shape[-1:]
        if space.shape != width:
            raise DatasetError(
                f"The data set has {name} of shape {width}, but {env_id} has "
                f"{space.shape}; they must be the same to be recorded."
            )
    env.close()
    return env.spec, env.action_space


def _episodes(dataset: Dataset, slices: list[slice], low: np.ndarray, high: np.ndarray):
    """Minari's episodes: one observation more than steps."""
    from minari.data_collector import EpisodeBuffer

    for rows in slices:
        episode = type(dataset.transitions)(*(x[rows] for x in dataset.transitions))
        terminations = episode.terminations.astype(bool)
        yield EpisodeBuffer(
            observations=np.concatenate(
                [episode.observations, episode.next_observations[-1:]]
            ),
            actions=episode.actions * ((high - low) / 2) + (high + low) / 2,
            rewards=episode.rewards,
            terminations=terminations,
            truncations=dataset.episode_ends[rows] & ~terminations,
        )
