"""Table 1: fine-tuning under normal, random and adversarial conditions.

Beside it stand the pretrained policy and training from scratch.
"""

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("table1", argument)
    return common.with_runs(config, common.table1_runs(preset))
