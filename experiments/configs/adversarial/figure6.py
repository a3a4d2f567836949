"""Figure 6: the linear curriculum, by where it ends."""

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("figure6", argument)
    config.evaluation.conditions = ("normal", "adversarial")
    runs = [common.LINEAR | {"curriculum.q_max": q_max} for q_max in common.Q_MAX]
    return common.with_runs(config, common.scheduled(preset, *runs))
