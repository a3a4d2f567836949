"""How many runs of a group are on the devices at a time: as many as their memory takes.

Where that is not all of them, the group trains in waves: for every chunk the states of
some runs are on the devices, those of the others on the host. On a CPU the two are one
memory, and all runs of a group make one wave.
"""

import math
import time
from typing import Any

import jax
import numpy as np

from experiments.groups import Group
from rpex_jax.devices import cut, fill, run_mesh, spread

SURE = 4  # times the states and inputs is more than any of our programs takes
SHARE = 0.9  # of the memory; the rest is left to evaluations and to fragments


class Waves:
    """The states of a group's runs, on the host or, if one wave has them all, not.

    Args:
      group: of all runs.
      size: runs on the devices at a time.
    """

    def __init__(self, group: Group, size: int):
        self._count = len(group.labels)
        mesh = run_mesh(min(size, self._count))
        self._size = -(-size // mesh.size) * mesh.size
        self._program = group.program(mesh)
        self._inputs = [
            spread(fill(part, self._size), mesh) for part in self._split(group.inputs)
        ]
        self._states = [None] * len(self._inputs)

    def start(self) -> None:
        """The states before the first chunk."""
        for wave, inputs in enumerate(self._inputs):
            self._keep(wave, self._program.start(inputs))

    def chunk(self, evaluates: bool) -> tuple[dict, dict, dict]:
        """One chunk of all runs.

        Returns:
          Metrics [runs]; returns [runs, episodes] by condition, where it `evaluates`;
          and the seconds of both, of which those of the first chunk are compiling.
        """
        metrics, returns = [], []
        wall = {"wall/chunk": 0.0, "wall/evaluation": 0.0}
        for wave, inputs in enumerate(self._inputs):
            state = fill(self._states[wave], self._size)
            started = time.perf_counter()
            state, of_wave = jax.block_until_ready(self._program.chunk(state, inputs))
            trained = time.perf_counter()
            metrics.append(of_wave)
            if evaluates:
                of_wave = self._program.evaluate(state, inputs)
                returns.append(jax.block_until_ready(of_wave))
            wall["wall/chunk"] += trained - started
            wall["wall/evaluation"] += time.perf_counter() - trained
            self._keep(wave, state)
        return self._join(metrics), self._join(returns) if evaluates else {}, wall

    def get(self) -> Any:
        """The states of all runs, on the host."""
        return self._join(self._states)

    def put(self, states: Any) -> None:
        """Goes on from these."""
        self._states = self._split(states)

    def shapes(self) -> Any:
        """Of `get`."""
        inputs = shapes(self._inputs[0], self._size)
        return shapes(jax.eval_shape(self._program.start, inputs), self._count)

    def _keep(self, wave: int, state: Any) -> None:
        alone = len(self._inputs) == 1
        self._states[wave] = state if alone else cut(state, self._size)

    def _split(self, tree: Any) -> list[Any]:
        return [
            jax.tree.map(lambda x: x[first : first + self._size], tree)  # noqa: B023
            for first in range(0, self._count, self._size)
        ]

    def _join(self, parts: list[Any]) -> Any:
        """Of the waves; what `fill` has added to the last one is left out."""
        if len(parts) == 1:
            return cut(parts[0], self._count)
        parts = [cut(part, self._size) for part in parts]
        return cut(jax.tree.map(lambda *x: np.concatenate(x), *parts), self._count)


def runs_at_once(group: Group) -> int:
    """The size of the group's waves."""
    limit = bytes_of_device()
    return len(group.labels) if limit is None else largest(group, SHARE * limit)


def largest(group: Group, limit: float) -> int:
    """The most runs that take at most `limit` bytes on each device; one at least.

    Where it could be tight the chunk of all runs is compiled, whose bytes XLA knows.
    """
    count = len(group.labels)
    mesh = run_mesh(count)
    program = group.program(mesh)
    inputs = shapes(group.inputs, -(-count // mesh.size) * mesh.size)
    states = jax.eval_shape(program.start, inputs)
    own = num_bytes((states, inputs)) / mesh.size
    if SURE * own < limit:
        return count
    memory = program.lower(states, inputs).compile().memory_analysis()
    own_or_shared = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    shared = max(0.0, memory.argument_size_in_bytes - own)
    share = -(-count // mesh.size)
    of_run = (own_or_shared + new - shared) / share
    return max(1, min(share, math.floor((limit - shared) / of_run))) * mesh.size


def bytes_of_device() -> int | None:
    """What programs may use of a device's memory; None where it is the host's."""
    statistics = jax.local_devices()[0].memory_stats()
    return statistics and statistics.get("bytes_limit")


def shapes(tree: Any, count: int) -> Any:
    """Of [runs, ...], for so many runs."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), tree
    )


def num_bytes(tree: Any) -> int:
    """Of all arrays of a tree."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
