"""Released IQL-RPEX: what if the critic starts at random; only target and V stay?"""

from experiments.configs.rpex import common


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.base = ("iql",)
    config.sweep.method = common.SETS
    config.sweep.corruption = ("reward",)
    config.sweep.axes = ("expansion.critic_transfer=full,target",)
    return config.lock()
