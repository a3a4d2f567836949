"""Figure 7: q of the adaptive curriculum, by smoothing factor and step size."""

import itertools

from experiments.configs.adversarial import common


def get_config(argument="paper"):
    config, preset = common.start("figure7", argument)
    config.evaluation.conditions = ("normal",)
    runs = [
        common.ADAPTIVE
        | {"curriculum.smoothing": smoothing, "curriculum.step_size": step_size}
        for smoothing, step_size in itertools.product(
            common.SMOOTHING, common.STEP_SIZE
        )
    ]
    return common.with_runs(config, common.scheduled(preset, *runs))
