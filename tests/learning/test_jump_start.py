"""JSRL's learner finds a goal that random actions do not, and ends without a guide."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.agents.iql import IQLConfig
from rpex_jax.attacks.corruption import corruption
from rpex_jax.envs import Env
from rpex_jax.envs.base import EnvState
from rpex_jax.jsrl import JSRLConfig
from rpex_jax.methods import METHODS
from rpex_jax.training import offline
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Spec

NUM_SEEDS, WARMUP, NUM_STEPS, LENGTH = 4, 100, 6000, 20
IQL = IQLConfig(
    hidden_dims=(32, 32), learning_rate=3e-3, discount=0.9, target_update_rate=0.02
)


def corridor() -> Env:
    """A point from x = 0 that moves by a / 10; at 1 it is paid 1 and the episode ends.

    Ten steps to the right do it; of random episodes about one in a thousand.
    """

    def reset(key):
        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        return EnvState((), jnp.zeros(1), jnp.zeros(()), no, no, zero, no)

    def step(state, action):
        x = jnp.clip(state.observation + jnp.clip(action, -1.0, 1.0) / 10, -1.0, 2.0)
        there = x[0] > 0.99
        return state._replace(
            observation=x,
            reward=there.astype(jnp.float32),
            terminated=there,
            time=state.time + 1,
        )

    return Env("corridor", Spec(1, 1), reset, step, LENGTH)


def to_the_right(actor):
    """The policy, whose mode is now nearly 1 everywhere."""
    head = actor["params"]["MLP_0"]["Dense_2"]
    head = {"kernel": 0.0 * head["kernel"], "bias": head["bias"] + 4.0}
    mlp = actor["params"]["MLP_0"] | {"Dense_2": head}
    return actor | {"params": actor["params"] | {"MLP_0": mlp}}


def learn(name, config):
    """Greedy success of each seed, and what the last chunk's metrics tell."""
    env = corridor()
    phase = sweep.online_phase(
        AGENTS["iql"],
        METHODS[name],
        env,
        batch_size=64,
        num_offline=0,
        capacity=WARMUP + NUM_STEPS,
        warmup=WARMUP,
        num_steps=NUM_STEPS // 4,
        updates_per_step=1,
        num_episodes=4,
    )
    clean = corruption(())
    runs = sweep.stack(
        [RunConfig(seed, config, clean, clean, 0) for seed in range(NUM_SEEDS)]
    )
    (_, statistics, step), no_data = offline.from_scratch(env.spec)

    @functools.partial(jax.vmap, in_axes=0)
    def pretrained(seed):
        state = AGENTS["iql"].init(jax.random.key(100 + seed), env.spec, IQL)
        state = state._replace(actor=to_the_right(state.actor))
        return offline.OfflineState(state, statistics, step)

    pretrained = pretrained(jnp.arange(NUM_SEEDS))
    state = phase.start(pretrained, runs, no_data)
    for _ in range(4):
        state, metrics = phase.chunk(state, pretrained.statistics, runs, no_data)
    returns = phase.evaluate(state, pretrained.statistics, runs)
    return np.asarray(returns).mean(1), jax.tree.map(np.asarray, metrics)


@pytest.mark.slow
def test_a_guide_shows_the_way_and_leaves():
    """Every seed gets to where the learner acts alone and reaches the goal."""
    config = JSRLConfig(IQL, float(LENGTH), num_stages=5.0, window=10)
    alone, _ = learn("scratch", IQL)
    led, metrics = learn("jsrl", config)
    assert (alone == 0.0).all()
    assert (led == 1.0).all()
    assert (metrics["jsrl/horizon"] == 0.0).all()
