"""The layout of built-in sets: exact, and about two thirds of a plain `.npz`.

Two things make it small. Inside an episode the next observation is the observation of
the row after, so only the last one of each episode is stored. And the bytes of a float
are stored apart: signs and exponents compress well, once the noise of the mantissas is
no longer between them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rpex_jax.data.dataset import Dataset, check, episode_slices
from rpex_jax.results import whole_file


def save_builtin(path: str | os.PathLike, dataset: Dataset) -> None:
    """Writes a data set to a compact `.npz`, whole or not at all.

    `sources.load` gives back the same numbers, bit for bit.

    Raises:
      DatasetError: the data set is not valid, or its episodes are not contiguous.
    """
    path = os.fspath(path)
    transitions, ends = dataset = check(dataset, path)
    episode_slices(dataset, path)
    terminals = transitions.terminations.astype(bool)
    arrays = {
        "observations": _to_planes(transitions.observations),
        "actions": _to_planes(transitions.actions),
        "rewards": _to_planes(transitions.rewards[:, None]),
        "final_observations": _to_planes(transitions.next_observations[ends]),
        "terminals": terminals,
        "timeouts": ends & ~terminals,
    }
    with whole_file(Path(path)) as stream:
        np.savez_compressed(stream, **arrays)


def is_packed(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the arrays of a file have the compact layout."""
    return "final_observations" in arrays


def unpack(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The ordinary fields of a data set, float32 [N, ...], from the compact ones."""
    observations = _from_planes(arrays["observations"])
    next_observations = np.roll(observations, -1, axis=0)
    ends = arrays["terminals"] | arrays["timeouts"]
    next_observations[ends] = _from_planes(arrays["final_observations"])
    return {
        "observations": observations,
        "actions": _from_planes(arrays["actions"]),
        "rewards": _from_planes(arrays["rewards"])[:, 0],
        "next_observations": next_observations,
        "terminals": arrays["terminals"],
        "timeouts": arrays["timeouts"],
    }


def _to_planes(array: np.ndarray) -> np.ndarray:
    """float32 [N, width] as bytes [width, 4, N]."""
    bytes_ = np.ascontiguousarray(array, "<f4").view(np.uint8)
    return bytes_.reshape(*array.shape, 4).transpose(1, 2, 0)


def _from_planes(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.transpose(2, 0, 1)).view("<f4")[..., 0]
