"""Whole run states on disk, through Orbax; a half-written one is never found."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding


def save(folder: Path, chunk: int, state: Any, *, keep: int | None = 1) -> None:
    """Writes `state` as `folder/chunk`, then removes older ones but for `keep`.

    Orbax writes to a temporary name and renames, so that a kill at any moment leaves
    the last complete state. A chunk that is there already stays as it is.
    """
    with _manager(folder, read_only=False, max_to_keep=keep) as manager:
        manager.save(chunk, args=ocp.args.StandardSave(state))
        manager.wait_until_finished()


def latest(folder: Path) -> int | None:
    """The number of the last complete chunk, or None."""
    if not folder.is_dir():
        return None
    with _manager(folder) as manager:
        return manager.latest_step()


def restore(folder: Path, chunk: int, like: Any) -> Any:
    """The state saved as `chunk`, in the structure, shapes and types of `like`.

    It comes as NumPy arrays: which devices take it is not decided by who saved it.
    """
    host = SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), like
    )
    with _manager(folder) as manager:
        state = manager.restore(chunk, args=ocp.args.StandardRestore(shapes))
    return jax.tree.map(np.asarray, state)


def _manager(
    folder: Path, *, read_only: bool = True, max_to_keep: int | None = None
) -> ocp.CheckpointManager:
    """Only a writer clears away what a killed one left half done."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=max_to_keep,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
    )
    return ocp.CheckpointManager(folder.absolute(), options=options)
