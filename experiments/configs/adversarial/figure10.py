"""Figure 10: the cloning term of TD3+BC kept or dropped online."""

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("figure10", argument)
    runs = [
        common.ADVERSARIAL
        | {"online.bc_weight": weight, "online.steps": preset.fixed_steps}
        for weight in (0.0, 1.0)
    ]
    return common.with_runs(config, runs)
