"""Offline learning on real data: better than the data it is made of."""

import numpy as np

from rpex_jax import envs, sweep
from rpex_jax.agents import iql
from rpex_jax.attacks.corruption import corruption
from rpex_jax.data import sources
from rpex_jax.data.dataset import episode_returns
from rpex_jax.training.offline import put_on_device
from rpex_jax.training.run import RunConfig


def test_iql_beats_the_mean_return_of_the_builtin_data():
    """Small networks, two seeds, a fifth better than the data."""
    dataset = sources.load("hopper-medium-replay")
    clean = corruption(())
    config = iql.IQLConfig(hidden_dims=(64, 64))
    runs = sweep.stack([RunConfig(seed, config, clean, clean, 0) for seed in (0, 1)])
    env, data = envs.make("Hopper-v4"), put_on_device(dataset)
    phase = sweep.offline_phase(
        iql.AGENT, env, batch_size=128, num_updates=4_000, num_episodes=20
    )
    state, _ = phase.chunk(phase.start(runs, data), runs, data)
    returns = np.asarray(phase.evaluate(state, runs))
    mean = episode_returns(dataset).mean()
    assert (returns.mean(axis=1) > 1.2 * mean).all(), (returns.mean(axis=1), mean)
