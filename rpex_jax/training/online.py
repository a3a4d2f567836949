"""Online training: one run, one compiled chunk of environment steps.

Each step: observe, act, perturb the action, step the physics, corrupt what is stored,
store it, update. An agent that delays its policy updates once in as many steps as it is
owed batches. A chunk is a period of the run's curriculum.

    state = start(agent_state, env, buffer, run)
    state, metrics = chunk(state, statistics, run, data)
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.attacks import curriculum
from rpex_jax.attacks.adversarial_corruption import ONLINE, attack
from rpex_jax.attacks.corruption import corrupt_row
from rpex_jax.attacks.curriculum import CurriculumState
from rpex_jax.data import balanced_replay, sum_tree
from rpex_jax.data.balanced_replay import BalanceState
from rpex_jax.data.buffer import Buffer, BufferState
from rpex_jax.data.statistics import (
    FieldDeviations,
    ObservationStatistics,
    standardise,
)
from rpex_jax.envs import Env, episodes
from rpex_jax.training.adversarial import (
    critic_attack,
    curriculum_score,
    perturbed_env,
)
from rpex_jax.training.offline import (
    OfflineData,
    data_key,
    sample_rows,
    standardise_batch,
    take_rows,
)
from rpex_jax.training.run import RunConfig, draw, num_batches, stream, whole_rounds
from rpex_jax.types import Agent, Array, Key, Transition


class OnlineState(NamedTuple):
    """Everything that changes online: saved whole, restored whole."""

    agent: Any
    buffer: BufferState
    env: episodes.EpisodeState
    step: Array  # [], int32, environment steps done
    curriculum: CurriculumState | None = None  # where actions are perturbed
    balance: BalanceState | None = None  # where replay and data set are drawn as one


def start(
    agent_state: Any, env: Env, buffer: Buffer, run: RunConfig, num_rows: int = 0
) -> OnlineState:
    """An empty buffer, the start of an episode and of the curriculum.

    `num_rows` is the size of the data set; balanced replay has a priority for each.
    """
    of_run = None
    if run.perturbation is not None:
        of_run = curriculum.start(run.perturbation.curriculum)
        env = perturbed_env(env, run, of_run.q)
    example = Transition(
        observations=jnp.zeros(env.spec.observation_dim),
        actions=jnp.zeros(env.spec.action_dim),
        rewards=jnp.zeros(()),
        next_observations=jnp.zeros(env.spec.observation_dim),
        terminations=jnp.zeros(()),
    )
    replay, balance = buffer.init(example), None
    if run.balance is not None:
        key = jax.random.fold_in(stream(run, "expansion"), 1)
        capacity = len(replay.data.rewards)
        balance = balanced_replay.start(key, env.spec, num_rows, capacity, run.balance)
    return OnlineState(
        agent=agent_state,
        buffer=replay,
        env=episodes.reset(stream(run, "env"), env),
        step=jnp.zeros((), jnp.int32),
        curriculum=of_run,
        balance=balance,
    )


def prefill(
    state: OnlineState, buffer: Buffer, run: RunConfig, data: OfflineData, count: int
) -> OnlineState:
    """The state with `count` rows of the data set in its replay, each at most once.

    The replay forgets them first. Source: arXiv 2510.13358, section 4.2.
    """
    total = len(data.transitions.rewards)
    rows = jax.random.choice(stream(run, "prefill"), total, (count,), replace=False)
    damaged = take_rows(rows, data_key(run), data, run.offline_corruption)
    return state._replace(buffer=buffer.add(state.buffer, damaged))


def make_chunk(
    agent: Agent,
    env: Env,
    buffer: Buffer,
    *,
    num_steps: int,
    updates_per_step: int,
    num_offline: int,
    curriculum_episodes: int = 0,
) -> Callable:
    """`chunk(state, statistics, run, data) -> (state, metrics)`: `num_steps` steps.

    Args:
      agent: what acts and learns.
      env: where it acts.
      buffer: its replay; it decides the online share of a batch.
      num_steps: environment steps in a chunk.
      updates_per_step: UTD, critic updates a step; 0 collects only, which is how a
        run begins.
      num_offline: rows of the data set in every batch, put first; with 0 the data set
        is not looked at, but by runs with a balance, whose batches are drawn from both
        and as large as the buffer's.
      curriculum_episodes: of the evaluation at the end of a chunk that moves q, for
        runs with a perturbation; 0 leaves q alone.

    Returns:
      The chunk. Its metrics are means over updates; `episode/` tells of the episodes
      that ended in it, `curriculum/` of q in the chunk and of the evaluation after it.
      But for the curriculum, chunks of any length give the same state.
    """

    def act(key: Key, agent_state: Any, observation: Array, config: Any, time: Array):
        del time
        action = agent.act(key, agent_state, observation, config, greedy=False)
        return action, agent_state

    explore = agent.explore or act

    def chunk(
        state: OnlineState,
        statistics: ObservationStatistics,
        run: RunConfig,
        data: OfflineData,
    ) -> tuple[OnlineState, dict]:
        key_online = stream(run, "online")
        key_data = data_key(run, run.corrupt_again)
        # Stored observations are raw, so a unit of noise after normalisation is the
        # normaliser's deviation; actions, and what is not normalised, keep the data
        # set's.
        deviations = FieldDeviations(
            observations=jnp.where(
                run.standardise, statistics.std, data.deviations.observations
            ),
            actions=data.deviations.actions,
            next_observations=jnp.where(
                run.standardise, statistics.std, data.deviations.next_observations
            ),
        )

        def store(key, transition):
            rewards = data.reward_unit.apply(transition.rewards)
            transition = transition._replace(rewards=rewards)
            damage, shifts = run.online_corruption, None
            if data.attacker is not None:
                rows = jax.tree.map(lambda x: x[None], transition)
                shifts = attack(
                    jax.random.fold_in(key, 1),
                    rows,
                    data.attacker,
                    damage.scale,
                    deviations,
                    ONLINE,
                )
                shifts = jax.tree.map(lambda x: x[0], shifts)
            return corrupt_row(key, transition, damage, deviations, shifts)

        def sample(replay, key):
            key_online, key_offline = jax.random.split(key)
            batch = buffer.sample(key_online, replay)
            if num_offline:
                offline = sample_rows(
                    key_offline, key_data, data, run.offline_corruption, num_offline
                )
                batch = jax.tree.map(
                    lambda a, b: jnp.concatenate([a, b]), offline, batch
                )
            return standardise_batch(batch, statistics)

        def sample_balanced(replay, balance, key):
            key_online, key_offline, key_rows = jax.random.split(key, 3)
            online = buffer.sample(key_online, replay)
            size, total = len(online.rewards), len(data.transitions.rewards)
            offline = sample_rows(
                key_offline, key_data, data, run.offline_corruption, size
            )
            rows = sum_tree.draw(key_rows, balance.tree, size)
            kept = take_rows(
                jnp.minimum(rows, total - 1), key_data, data, run.offline_corruption
            )
            new = jax.tree.map(lambda x: x[jnp.maximum(rows - total, 0)], replay.data)
            is_new = rows >= total
            drawn = jax.tree.map(
                lambda a, b: jnp.where(is_new.reshape(-1, *[1] * (a.ndim - 1)), a, b),
                new,
                kept,
            )
            offline, online, drawn = (
                standardise_batch(x, statistics) for x in (offline, online, drawn)
            )
            balance, metrics = balanced_replay.learn(
                balance, offline, online, rows, drawn, run.balance
            )
            return drawn, balance, metrics | {"balance/online_share": is_new.mean()}

        def one_update(replay, carry, key):
            agent_state, balance = carry
            key_batch, key_update = jax.random.split(key)
            told = {}
            if balance is None:
                batch = draw(agent, run, partial(sample, replay), key_batch)
            else:
                batch, balance, told = sample_balanced(replay, balance, key_batch)
            agent_state, metrics = agent.update(
                key_update, agent_state, batch, run.agent
            )
            return (agent_state, balance), metrics | told

        def one_step(state, _):
            key_act, key_reset, key_corrupt, key_updates = jax.random.split(
                jax.random.fold_in(key_online, state.step), 4
            )
            observation = standardise(state.env.env.observation, statistics)
            action, agent_state = explore(
                key_act, state.agent, observation, run.agent, state.env.env.time
            )
            world = env
            if run.perturbation is not None:
                attack = critic_attack(agent, state.agent, statistics, run)
                world = perturbed_env(env, run, state.curriculum.q, attack)
            env_state, transition, episode = episodes.step(
                key_reset, world, state.env, action
            )
            if agent.notice is not None:
                agent_state = agent.notice(agent_state, episode, run.agent)
            stored = store(key_corrupt, transition)
            balance = state.balance
            if balance is not None:
                row = len(data.transitions.rewards) + state.buffer.position
                balance = balanced_replay.added(balance, row)
            replay = buffer.add(state.buffer, jax.tree.map(lambda x: x[None], stored))
            state = state._replace(
                agent=agent_state,
                buffer=replay,
                env=env_state,
                step=state.step + 1,
                balance=balance,
            )
            return state, (key_updates, episode)

        def one_round(state, _):
            state, (keys, episode) = jax.lax.scan(one_step, state, None, round_steps)
            keys = jax.random.split(keys[-1], round_updates)
            (agent_state, balance), metrics = jax.lax.scan(
                partial(one_update, state.buffer), (state.agent, state.balance), keys
            )
            state = state._replace(agent=agent_state, balance=balance)
            return state, (metrics, episode)

        # A round is the fewest steps that are owed a whole number of updates: one,
        # unless the agent delays its policy.
        batches = num_batches(agent, run)
        round_steps = batches // math.gcd(batches, updates_per_step)
        round_updates = round_steps * updates_per_step // batches
        rounds = whole_rounds(num_steps, round_steps, "num_steps")
        state, (metrics, episode) = jax.lax.scan(one_round, state, None, rounds)
        ended = episode.ended
        num_ended = ended.sum()
        if not updates_per_step:
            metrics = {}
        metrics = jax.tree.map(lambda x: x.mean((0, 1)), metrics)
        if run.perturbation is not None and curriculum_episodes:
            score = curriculum_score(
                agent, env, state, statistics, run, curriculum_episodes
            )
            of_run = run.perturbation.curriculum
            after = curriculum.advance(state.curriculum, score, of_run)
            metrics |= {
                "curriculum/q": state.curriculum.q,
                "curriculum/next_q": after.q,
                "curriculum/hit_bound": curriculum.hit_bound(
                    state.curriculum, after, of_run
                ).astype(jnp.float32),
                "curriculum/score": after.score,
                "curriculum/smoothed": after.smoothed,
            }
            state = state._replace(curriculum=after)
        return state, metrics | {
            "episode/count": num_ended,
            "episode/failed": (ended & episode.failed).sum(),
            "episode/return": jnp.where(ended, episode.episode_return, 0.0).sum()
            / num_ended,
        }

    return chunk
