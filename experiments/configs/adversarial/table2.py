"""Table 2: how often to perturb; a fixed q, the linear and the adaptive curriculum."""

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("table2", argument)
    fixed = common.ADVERSARIAL | {"online.steps": preset.fixed_steps}
    curricula = common.scheduled(preset, common.LINEAR, common.ADAPTIVE)
    return common.with_runs(config, [fixed, *curricula])
