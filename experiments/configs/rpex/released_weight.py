"""Released code: AWR, where the paper has AlignIQL, under observation corruption."""

from experiments.configs.rpex import common


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.base = ("riql",)
    config.sweep.method = common.SETS
    config.sweep.corruption = ("observation",)
    config.sweep.axes = ("online.align=1.0,0.0",)
    return config.lock()
