"""Episodes: time limit and reset, on any environment. The only place that resets."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rpex_jax.envs.base import Env, EnvState
from rpex_jax.types import Array, Key, Transition


class EpisodeState(NamedTuple):
    """An environment in the middle of an episode."""

    env: EnvState
    episode_return: Array  # [], sum of rewards so far


class Episode(NamedTuple):
    """What a step did to its episode; return and length count this step."""

    ended: Array  # [], bool, by the task or by the time limit
    episode_return: Array  # []
    length: Array  # [], int32
    failed: Array  # [], bool: ended because physics was not finite


def reset(key: Key, env: Env) -> EpisodeState:
    """The start of an episode."""
    return EpisodeState(env.reset(key), jnp.zeros(()))


def step(
    key: Key, env: Env, state: EpisodeState, action: Array
) -> tuple[EpisodeState, Transition, Episode]:
    """One step, and a reset where it ended the episode.

    Args:
      key: for the reset.
      env: the environment; static.
      state: from `reset` or `step`.
      action: [action_dim], unclipped; the transition keeps it as it is.

    Returns:
      state: of the same episode, or the start of the next one.
      transition: finished. Its next observation is the true one even where the episode
        ended, and `terminations` is 1 only where the task ended. All of it is finite:
        an action entry that is not is stored as 0 (and `episode.failed` is set).
      episode: whether an episode ended, and what came of it.
    """
    after = env.step(state.env, action)
    transition = Transition(
        observations=state.env.observation,
        actions=jnp.where(jnp.isfinite(action), action, 0.0),
        rewards=after.reward,
        next_observations=after.observation,
        terminations=after.terminated.astype(jnp.float32),
    )
    episode = Episode(
        ended=after.terminated | after.truncated | (after.time >= env.time_limit),
        episode_return=state.episode_return + after.reward,
        length=after.time,
        failed=after.failed,
    )
    continued = _reset_where(key, env, after, episode.ended)
    episode_return = jnp.where(episode.ended, 0.0, episode.episode_return)
    return EpisodeState(continued, episode_return), transition, episode


def _reset_where(key: Key, env: Env, state: EnvState, ended: Array) -> EnvState:
    if env.reset_where is not None:
        return env.reset_where(key, state, ended)
    return jax.tree.map(
        lambda new, old: jnp.where(ended, new, old), env.reset(key), state
    )
