"""Released code: what does its share of 0.1 of random choices in evaluation do?"""

from experiments.configs.rpex import common


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.base = ("riql",)
    config.sweep.method = common.SETS
    config.sweep.corruption = ("reward",)
    config.sweep.axes = ("expansion.epsilon=0.0,0.1",)
    return config.lock()
