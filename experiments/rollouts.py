"""What collectors see, as whole episodes on the host, through the one online loop."""

import functools
import heapq
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rpex_jax import sweep
from rpex_jax.attacks.corruption import corruption
from rpex_jax.data.buffer import make_buffer
from rpex_jax.data.dataset import Dataset, DatasetError
from rpex_jax.envs import Env
from rpex_jax.training import offline, online
from rpex_jax.training.online import OnlineState
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Agent

# Where an episode was cut, the last entry of `episode_ends` is still false here;
# `closed` sets it and `whole` drops the episode.


@functools.partial(jax.jit, static_argnums=1)
def newest(states: OnlineState, count: int) -> Dataset:
    """The last `count` steps of every run, [runs, count, ...], where none is corrupted.

    Inside an episode the next observation is the observation of the step after, bit
    for bit; a reset breaks that.
    """

    def of_run(state):
        start = (state.buffer.position - count) % len(state.buffer.data.rewards)
        rows = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, start, count), state.buffer.data
        )
        following = jnp.concatenate(
            [rows.observations[1:], state.env.env.observation[None]]
        )
        broken = (rows.next_observations != following).any(-1)
        return Dataset(rows, broken | (rows.terminations > 0))

    return jax.vmap(of_run)(states)


class Episodes:
    """Cuts the steps of collectors into episodes, in the order in which those began.

    In the order in which they end, the first rows would hold too many short ones.
    """

    def __init__(self, num_collectors: int):
        self._time = 0
        self._began = [0] * num_collectors
        self._parts: list[list[Dataset]] = [[] for _ in range(num_collectors)]
        self._ended: list[tuple[int, int, Dataset]] = []  # a heap

    def add(self, steps: Dataset) -> Dataset:
        """Takes the next steps, [collectors, n, ...], and gives whole episodes.

        An episode waits for all that began before it, so there may be none.
        """
        steps = jax.tree.map(np.asarray, steps)
        for collector, parts in enumerate(self._parts):
            own = jax.tree.map(lambda x: x[collector], steps)  # noqa: B023
            start = 0
            for stop in np.flatnonzero(own.episode_ends) + 1:
                parts.append(cut(own, start, stop))
                began = self._began[collector]
                heapq.heappush(self._ended, (began, collector, join(parts)))
                parts.clear()
                self._began[collector] = self._time + int(stop)
                start = stop
            parts.append(cut(own, start, len(own.episode_ends)))
        self._time += steps.episode_ends.shape[1]
        ready = [cut(own, 0, 0)]
        while self._ended and self._ended[0][:2] < self._first_open():
            ready.append(heapq.heappop(self._ended)[2])
        return join(ready)

    def unfinished(self) -> Dataset:
        """What there is of the episode whose turn is next; it stays."""
        _, collector = self._first_open()
        return join(self._parts[collector])

    def _first_open(self) -> tuple[int, int]:
        """When it began, and whose it is."""
        return min((began, collector) for collector, began in enumerate(self._began))


def make_rollout(
    agent: Agent, env: Env, *, num_collectors: int, num_steps: int
) -> Callable[..., Iterator[Dataset]]:
    """Makes `rollout(agent_state, agent_config, seed, rows, statistics)`.

    It learns nothing; without statistics the agent sees observations as they are.

    Args:
      agent: who acts, with sampled actions.
      env: where.
      num_collectors: environments side by side.
      num_steps: steps of each that are run, and kept in memory, at once.

    Returns:
      The function. It yields `rows` transitions in all, some episodes at a time; the
      last episode is mostly cut.
    """
    buffer = make_buffer(num_steps, batch_size=1)
    chunk = jax.jit(
        jax.vmap(
            online.make_chunk(
                agent,
                env,
                buffer,
                num_steps=num_steps,
                updates_per_step=0,
                num_offline=0,
            ),
            in_axes=(0, None, 0, None),
        ),
        donate_argnums=0,
    )
    start = jax.jit(
        jax.vmap(
            lambda agent_state, run: online.start(agent_state, env, buffer, run),
            in_axes=(None, 0),
        )
    )
    pretrained, no_data = offline.from_scratch(env.spec)
    nothing = corruption(())

    def rollout(
        agent_state, agent_config, seed, rows: int, statistics=pretrained.statistics
    ) -> Iterator[Dataset]:
        seeds = np.random.default_rng(seed).integers(2**31, size=num_collectors)
        runs = sweep.stack(
            [RunConfig(int(s), agent_config, nothing, nothing, 0) for s in seeds]
        )
        state = start(agent_state, runs)
        episodes = Episodes(num_collectors)
        while rows > 0:
            state, metrics = chunk(state, statistics, runs, no_data)
            if failed := int(metrics["episode/failed"].sum()):
                raise DatasetError(
                    f"{failed} episodes ended as actions or physics were not finite; "
                    "a policy that is recorded must give numbers"
                )
            ready = episodes.add(newest(state, num_steps))
            unfinished = episodes.unfinished()
            if len(ready.episode_ends) + len(unfinished.episode_ends) >= rows:
                ready = join([ready, unfinished])
            batch = cut(ready, 0, rows)
            rows -= len(batch.episode_ends)
            yield batch

    return rollout


def of_config(
    agent: Agent, env: Env, config: ConfigDict
) -> Callable[..., Iterator[Dataset]]:
    """The rollout of a collection, a thousand steps at a time."""
    return make_rollout(
        agent,
        env,
        num_collectors=config.collectors,
        num_steps=min(1_000, -(-config.rows // config.collectors)),
    )


def cut(dataset: Dataset, start: int, stop: int) -> Dataset:
    """Rows from `start` up to `stop`."""
    return jax.tree.map(lambda x: x[start:stop], dataset)


def join(parts: list[Dataset]) -> Dataset:
    """One after the other."""
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def whole(dataset: Dataset) -> Dataset:
    """Without the rows of a last episode that was cut."""
    ends = np.flatnonzero(dataset.episode_ends)
    return cut(dataset, 0, ends[-1] + 1 if ends.size else 0)


def closed(dataset: Dataset) -> Dataset:
    """With the last row as the end of its episode."""
    ends = dataset.episode_ends.copy()
    ends[-1:] = True
    return dataset._replace(episode_ends=ends)
