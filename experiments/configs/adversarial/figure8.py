"""Figure 8: final scores over the grid of Figure 7, which is drawn with it."""

from experiments.configs.adversarial import figure7


def get_config(argument="paper"):
    config = figure7.get_config(argument)
    with config.unlocked():
        config.study = "figure8"
        config.evaluation.conditions = ("normal", "random", "adversarial")
    return config
