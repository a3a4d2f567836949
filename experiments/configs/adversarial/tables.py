"""Tables 1 and 2 as one study: they share pretraining, attack sets and a column."""

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("tables", argument)
    curricula = common.scheduled(preset, common.LINEAR, common.ADAPTIVE)
    return common.with_runs(config, [*common.table1_runs(preset), *curricula])
