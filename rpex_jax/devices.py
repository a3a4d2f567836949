"""The run axis over the devices of this host: each has its share of the runs.

Runs never look at each other, so no device waits for another: a program with a mesh is
the program of one device, and it holds no collectives.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

T = TypeVar("T")
AXIS = "run"


def num_cores() -> int:
    """Of this machine, or what a job scheduler has left us of it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def run_mesh(num_runs: int, num_devices: int | None = None) -> Mesh:
    """As few local devices as make the largest share of runs as small as all would.

    Args:
      num_runs: of the group.
      num_devices: the first so many take part; None is all.
    """
    devices = jax.local_devices()[:num_devices]
    share = -(-num_runs // len(devices))
    return Mesh(np.array(devices[: -(-num_runs // share)]), (AXIS,))


def share(tree: T, mesh: Mesh) -> T:
    """What all runs read, on every device of the mesh: no call has to copy it there."""
    return tree if mesh.size == 1 else jax.device_put(tree, NamedSharding(mesh, P()))


def spread(tree: T, mesh: Mesh) -> T:
    """Of [runs, ...], filled to share evenly, each device has its own, no others."""
    axis = NamedSharding(mesh, P(AXIS))
    return tree if mesh.size == 1 else jax.device_put(fill(tree, mesh.size), axis)


def fill(tree: T, multiple: int) -> T:
    """Repeats the last run of [runs, ...] until their number is such a multiple."""

    def longer(x):
        missing = -len(x) % multiple
        return jnp.concatenate([x, *[x[-1:]] * missing]) if missing else x

    return jax.tree.map(longer, tree)


def cut(tree: T, num_runs: int) -> T:
    """The first `num_runs` runs, on the host: copies that filled up are left out."""
    return jax.tree.map(lambda x: np.asarray(x)[:num_runs], tree)


def compile_for(
    mesh: Mesh | None,
    of_runs: Callable[..., Any],
    in_axes: Sequence[int | None],
    donate_argnums: Sequence[int] = (),
) -> Callable[..., Any]:
    """The jitted function, run by every device of the mesh on its own runs.

    Args:
      mesh: of `run_mesh`; None is the default device alone.
      of_runs: takes and gives trees [runs, ...].
      in_axes: as of `jax.vmap`: 0 for arguments with a run axis, None for those that
        all runs share.
      donate_argnums: as of `jax.jit`.
    """
    if mesh is not None and mesh.size > 1:
        of_runs = jax.shard_map(
            of_runs,
            mesh=mesh,
            in_specs=tuple(P() if axis is None else P(AXIS) for axis in in_axes),
            out_specs=P(AXIS),
            check_vma=False,  # of what runs share, nothing is given back
        )
    return jax.jit(of_runs, donate_argnums=tuple(donate_argnums))
