"""Offline pretraining: one run, one compiled chunk of updates.

    state = start(agent, env.spec, run, data)
    state, metrics = chunk(state, run, data)       # as often as needed

A sweep maps both over runs; the data set is shared and has no run axis.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.attacks.adversarial_corruption import Attacker
from rpex_jax.attacks.corruption import Corruption, Shifts, corrupt, row_keys
from rpex_jax.data.dataset import Dataset
from rpex_jax.data.rewards import RAW, RewardUnit
from rpex_jax.data.statistics import (
    FieldDeviations,
    ObservationStatistics,
    field_deviations,
    observation_statistics,
    standardise,
)
from rpex_jax.training.run import (
    RunConfig,
    check_counts,
    draw,
    num_batches,
    stream,
    whole_rounds,
)
from rpex_jax.types import Agent, Array, Key, Spec, Transition


class AttackedRows(NamedTuple):
    """The adversarial damage of the rows that any run has hit."""

    place: Array  # [N], int32, of a row in `shifts`; that of others means nothing
    shifts: Shifts  # [M, ...]


class OfflineData(NamedTuple):
    """The clean data set on the device, and what it is corrupted with."""

    transitions: Transition  # [N, ...]
    deviations: FieldDeviations  # the unit of corruption
    attacked: AttackedRows | None = None  # where runs have adversarial damage offline
    attacker: Attacker | None = None  # where they have it online
    reward_unit: RewardUnit = RAW  # of these rewards, and of those online


class OfflineState(NamedTuple):
    """Everything that changes while pretraining: saved whole, restored whole."""

    agent: Any
    statistics: ObservationStatistics  # of the data as this run sees it
    step: Array  # [], int32, updates done


def put_on_device(dataset: Dataset, reward_unit: RewardUnit = RAW) -> OfflineData:
    """The data set as training takes it."""
    transitions = jax.tree.map(jnp.asarray, dataset.transitions)
    rewards = reward_unit.apply(transitions.rewards)
    return OfflineData(
        transitions._replace(rewards=rewards),
        field_deviations(transitions),
        reward_unit=reward_unit,
    )


def from_scratch(spec: Spec) -> tuple[OfflineState, OfflineData]:
    """What online training starts from where there is no data: nothing is scaled."""
    statistics = raw(spec)
    unit = FieldDeviations(statistics.std, jnp.ones(spec.action_dim), statistics.std)
    state = OfflineState(None, statistics, jnp.zeros((), jnp.int32))
    return state, OfflineData(None, unit)


def raw(spec: Spec) -> ObservationStatistics:
    """Statistics under which observations are seen as they are."""
    return ObservationStatistics(
        jnp.zeros(spec.observation_dim), jnp.ones(spec.observation_dim)
    )


def data_key(run: RunConfig, corrupt_again: Array = 0) -> Key:
    """Decides the damage of the data set; 0 is the damage that pretraining saw."""
    if run.pretraining_seed is not None:
        run = run.replace(seed=run.pretraining_seed)
    return jax.random.fold_in(stream(run, "data"), corrupt_again)


def sample_rows(
    key: Key,
    key_data: Key,
    data: OfflineData,
    corruption: Corruption,
    batch_size: int,
) -> Transition:
    """Rows drawn uniformly with replacement, with the damage that is theirs."""
    rows = jax.random.randint(key, (batch_size,), 0, len(data.transitions.rewards))
    return take_rows(rows, key_data, data, corruption)


def take_rows(
    rows: Array, key_data: Key, data: OfflineData, corruption: Corruption
) -> Transition:
    """The rows of these numbers, with the damage that is theirs."""
    drawn = jax.tree.map(lambda x: x[rows], data.transitions)
    return damage(rows, drawn, key_data, data, corruption)


def damage(
    rows: Array,
    drawn: Transition,
    key_data: Key,
    data: OfflineData,
    corruption: Corruption,
) -> Transition:
    """Clean rows of these numbers, damaged."""
    shifts = None
    if data.attacked is not None:
        place = data.attacked.place[rows]
        shifts = jax.tree.map(lambda x: x[place], data.attacked.shifts)
    keys = row_keys(key_data, rows)
    return corrupt(keys, drawn, corruption, data.deviations, shifts)


def standardise_batch(
    batch: Transition, statistics: ObservationStatistics
) -> Transition:
    """The batch as agents see it."""
    return batch._replace(
        observations=standardise(batch.observations, statistics),
        next_observations=standardise(batch.next_observations, statistics),
    )


def start(agent: Agent, spec: Spec, run: RunConfig, data: OfflineData) -> OfflineState:
    """A fresh agent, and the observation statistics of the corrupted data.

    A run that does not standardise has a mean of 0 and a deviation of 1.
    """

    def damaged(rows: Array, block: Transition) -> Transition:
        return damage(rows, block, data_key(run), data, run.offline_corruption)

    of_data = observation_statistics(data.transitions, damaged)
    return OfflineState(
        agent=agent.init(stream(run, "init"), spec, run.agent),
        statistics=jax.tree.map(
            lambda found, plain: jnp.where(run.standardise, found, plain),
            of_data,
            raw(spec),
        ),
        step=jnp.zeros((), jnp.int32),
    )


def make_chunk(agent: Agent, *, batch_size: int, num_updates: int) -> Callable:
    """`chunk(state, run, data) -> (state, metrics)`: `num_updates` critic updates.

    Metrics are means over the chunk. Chunks of any length give the same state: the
    randomness of an update depends on its number alone. An agent that delays its
    policy needs whole multiples of its delay.

    Raises:
      ValueError: a batch without rows, or no update.
    """
    check_counts(batch_size=batch_size, num_updates=num_updates)

    def chunk(
        state: OfflineState, run: RunConfig, data: OfflineData
    ) -> tuple[OfflineState, dict]:
        key_data, key_offline = data_key(run), stream(run, "offline")

        def sample(key):
            rows = sample_rows(key, key_data, data, run.offline_corruption, batch_size)
            return standardise_batch(rows, state.statistics)

        def one_update(agent_state, step):
            key_rows, key_update = jax.random.split(
                jax.random.fold_in(key_offline, step)
            )
            batch = draw(agent, run, sample, key_rows)
            return agent.update(key_update, agent_state, batch, run.agent)

        each = num_batches(agent, run)
        rounds = whole_rounds(num_updates, each, "num_updates")
        steps = state.step + each * jnp.arange(rounds)
        agent_state, metrics = jax.lax.scan(one_update, state.agent, steps)
        state = state._replace(agent=agent_state, step=state.step + num_updates)
        return state, jax.tree.map(lambda x: x.mean(0), metrics)

    return chunk
