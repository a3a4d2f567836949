"""Jump-start reinforcement learning, JSRL, arXiv 2204.02372.

A frozen guide acts in the first h steps of an episode, a learner in the rest, so that
the learner meets the states near the goal first. By the paper's curriculum the guide
begins alone, which tells how many steps H it needs, and h then goes down in n stages,

    h = H - H / n, H - 2 H / n, ..., 0,

to the next one when the moving mean of returns is at least its best so far less a
tolerance. The paper has both means from separate evaluations; here they are over the
episodes of training, of guide and learner as they act, and start anew with each stage:
that costs no steps, and a run needs no evaluation to go on. h can also be drawn anew
for each episode ("random", the paper's other variant) or shrink with the steps done
("linear", ours).

The guide acts greedily and the learner begins with fresh networks: ours too. Evaluated,
and so in the end, the learner acts alone.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from rpex_jax.guided import around, fresh_pair, pretrained_action
from rpex_jax.types import Agent, Array, Key, Spec, Transition, static

SCHEDULES = ("curriculum", "linear", "random")


@struct.dataclass
class JSRLConfig:
    """How long the guide acts; all schedules are numbers of one formula."""

    base: Any  # the learner's config
    horizon: float = 1000.0  # steps; the most that the guide acts in an episode
    decay_steps: float = math.inf  # environment steps until h is 0
    randomness: float = 0.0  # 1: h is uniform below what it would be; 0: h is it
    num_stages: float = math.inf  # n, of the curriculum; infinite: there is none
    tolerance: float = 0.05  # share of the best mean that may be missing
    window: int = static(50)  # episodes of the moving mean


class Progress(NamedTuple):
    """Where a run is in its curriculum."""

    stage: Array  # [], int32, 0 while the guide is alone
    reach: Array  # [], H, steps; until it is known, the most there may be
    returns: Array  # [window], of the newest episodes
    episodes: Array  # [], int32, that ended in this stage
    steps: Array  # [], int32, of these episodes
    best: Array  # [], the highest moving mean so far


class JSRLState(NamedTuple):
    """The guide, the learner, and where they are."""

    pretrained: Any  # policy parameters of the guide
    base: Any  # of the learner
    horizon: Array  # [], int32, h of this episode
    steps: Array  # [], int32, acted so far
    progress: Progress


def start(config: JSRLConfig) -> Progress:
    """The first stage, before any episode."""
    # zeros of their own: one array cannot be donated twice
    stage, episodes, steps = (jnp.zeros((), jnp.int32) for _ in range(3))
    return Progress(
        stage,
        reach=jnp.array(config.horizon, jnp.float32),
        returns=jnp.zeros(config.window),
        episodes=episodes,
        steps=steps,
        best=jnp.array(jnp.finfo(jnp.float32).min),  # finite: 0 times it is 0
    )


def advance(
    progress: Progress, episode_return: Array, length: Array, config: JSRLConfig
) -> Progress:
    """After an episode: the next stage, if as many as the window ended and are good."""
    place = progress.episodes % config.window
    returns = progress.returns.at[place].set(episode_return)
    episodes, steps = progress.episodes + 1, progress.steps + length
    mean, is_full = returns.mean(), episodes >= config.window
    least = progress.best - config.tolerance * jnp.abs(progress.best)
    moves = is_full & (mean >= least) & jnp.isfinite(config.num_stages)
    needed = jnp.minimum(progress.reach, steps / episodes)
    return Progress(
        stage=progress.stage + moves,
        reach=jnp.where(moves & (progress.stage == 0), needed, progress.reach),
        returns=returns,
        episodes=jnp.where(moves, 0, episodes),
        steps=jnp.where(moves, 0, steps),
        best=jnp.where(is_full, jnp.maximum(progress.best, mean), progress.best),
    )


def draw_horizon(
    key: Key, steps: Array, progress: Progress, config: JSRLConfig
) -> Array:
    """h of an episode that begins after `steps` environment steps; [], int32."""
    of_stage = progress.reach - progress.reach * progress.stage / config.num_stages
    left = jnp.maximum(1.0 - steps / config.decay_steps, 0.0)
    below = 1.0 - config.randomness * (1.0 - jax.random.uniform(key))
    return jnp.floor(jnp.maximum(of_stage, 0.0) * left * below).astype(jnp.int32)


def jsrl(base: Agent) -> Agent:
    """The agent that learns as `base` does and is jump-started by a guide of it.

    Its config is a `JSRLConfig`, its state a `JSRLState`. The guide acts online only.
    The metric `jsrl/horizon` is h.
    """
    learner = around(base)

    def init(key: Key, spec: Spec, config: JSRLConfig) -> JSRLState:
        guide, fresh = fresh_pair(base, key, spec, config)
        horizon, steps = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return JSRLState(guide, fresh, horizon, steps, start(config))

    def update(
        key: Key, state: JSRLState, batch: Transition, config: JSRLConfig
    ) -> tuple[JSRLState, dict]:
        state, metrics = learner.update(key, state, batch, config)
        return state, metrics | {"jsrl/horizon": state.horizon.astype(jnp.float32)}

    def explore(
        key: Key, state: JSRLState, observation: Array, config: JSRLConfig, time: Array
    ) -> tuple[Array, JSRLState]:
        key_horizon, key_guide, key_learner = jax.random.split(key, 3)
        drawn = draw_horizon(key_horizon, state.steps, state.progress, config)
        horizon = jnp.where(time == 0, drawn, state.horizon)
        action = jnp.where(
            time < horizon,
            pretrained_action(base, key_guide, state, observation, config),
            base.act(key_learner, state.base, observation, config.base, greedy=False),
        )
        return action, state._replace(horizon=horizon, steps=state.steps + 1)

    def notice(state: JSRLState, episode: Any, config: JSRLConfig) -> JSRLState:
        returned, length = episode.episode_return, episode.length
        after = advance(state.progress, returned, length, config)
        progress = jax.tree.map(
            lambda new, old: jnp.where(episode.ended, new, old), after, state.progress
        )
        return state._replace(progress=progress)

    return learner._replace(init=init, update=update, explore=explore, notice=notice)
