"""Figure 4: learning curves under each condition, of the runs of Table 1."""

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("figure4", argument)
    return common.with_runs(config, common.table1_runs(preset))
