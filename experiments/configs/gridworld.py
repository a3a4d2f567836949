"""Does corruption lengthen IQL's path in a grid world? Does RPEX's IPW shorten it?

After RPEX, arXiv 2509.24748, figure 2; sizes, data and budget are ours.
"""

from ml_collections import ConfigDict

from experiments.configs.default import agent_defaults


def get_config():
    config = ConfigDict()
    config.grid = "open"  # or "wall"; see rpex_jax/envs/gridworld.py
    config.seeds = tuple(range(10))  # each with data, networks and damage of its own

    # Walkers that start anywhere: some move along a shortest way, with some moves drawn
    # at random; the others draw all of them.
    config.data = ConfigDict()
    config.data.walkers = 50
    config.data.steps = 100  # of each
    config.data.restart = 25  # steps after which a walker starts again, or at the goal
    config.data.near_optimal = 0.5  # share of the walkers
    config.data.noise = 0.2  # share of moves at random of those

    # Of observations in the data. Source: RPEX, appendix C.1.
    config.corruption = ConfigDict()
    config.corruption.rate = 0.5
    config.corruption.scale = 1.0  # standard deviations of the clean observations

    config.updates = 5_000
    config.batch_size = 256
    config.agent = agent_defaults("iql")
    config.agent.hidden_dims = (64, 64)

    # Selection among the eight moves: each kappa at each temperature. The figure is of
    # the first temperature.
    config.inv_temperatures = (3.0, 0.3)
    config.kappas = (0.0, 0.01, 0.1, 1.0)
    config.shown = 0.1  # the kappa of the figure
    config.sampled_paths = 100  # of each run
    return config.lock()
