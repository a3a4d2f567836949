"""Table 4: a static attack set against PGD at every step, both adaptive."""

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("table4", argument)
    config.evaluation.conditions = ("normal", "adversarial", "pgd")
    runs = common.scheduled(preset, common.ADAPTIVE, common.PGD)
    return common.with_runs(config, runs)
