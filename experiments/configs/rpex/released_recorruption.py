"""Released code: what if the data are corrupted anew for the online phase?"""

from experiments.configs.rpex import common


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.base = ("riql",)
    config.sweep.method = common.SETS
    config.sweep.corruption = ("reward",)
    config.sweep.axes = ("online.corrupt_again=0,1",)
    return config.lock()
