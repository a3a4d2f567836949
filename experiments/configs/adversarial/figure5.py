"""Figure 5: q over training, linear and adaptive, and the learning curves."""

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("figure5", argument)
    runs = common.scheduled(preset, common.LINEAR, common.ADAPTIVE)
    return common.with_runs(config, runs)
