"""Whole run states on disk, through Orbax; a half-written one is never found."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; one sentence: its place, and what is wrong."""


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

    Raises:
      CheckpointError: there is none, it is damaged, or it is of something else.
    """
    place = folder / str(chunk)
    if not place.is_dir():
        raise CheckpointError(f"{place} is no folder; it must be a checkpoint")
    try:
        with ocp.StandardCheckpointer() as reader:
            saved = reader.metadata((place / "default").absolute()).item_metadata.tree
    except Exception as error:  # Orbax raises a dozen types on damaged files
        raise _damaged(place, error) from error
    _check_same(place, _shapes(saved), _shapes(like))
    host = SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=host), like
    )
    try:
        with _manager(folder) as manager:
            state = manager.restore(chunk, args=ocp.args.StandardRestore(shapes))
    except Exception as error:
        raise _damaged(place, error) from error
    return jax.tree.map(np.asarray, state)


def _shapes(tree: Any) -> dict[str, tuple[int, ...] | None]:
    """By the path of each array; a key of randomness, which is saved as data, has none.

    What holds nothing has no path, as in a checkpoint.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): None
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else tuple(leaf.shape)
        for path, leaf in leaves
    }


def _check_same(place: Path, saved: dict, wanted: dict) -> None:
    """Raises a `CheckpointError` at the first array that is not as it must be."""
    for name in sorted(saved.keys() | wanted.keys()):
        found, needed = saved.get(name, "nothing"), wanted.get(name, "nothing")
        if needed is not None and found != needed:
            raise CheckpointError(
                f"{place} has {found} as {name}, where it must have {needed}; it is of "
                "another environment, agent, config or version"
            )


def _damaged(place: Path, error: Exception) -> CheckpointError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return CheckpointError(
        f"{place} cannot be read, it may be damaged ({reason}); remove it, and train "
        "again"
    )


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
