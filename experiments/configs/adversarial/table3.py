"""Table 3: the adaptive curriculum with IQL, then SAC."""

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("table3", argument, base="iql")
    to_sac = common.ADAPTIVE | {"method": "sac"}
    return common.with_runs(config, common.scheduled(preset, to_sac))
