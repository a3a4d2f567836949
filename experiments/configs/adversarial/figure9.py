"""Figure 9: the share of the data set in the replay at the start."""

from experiments.configs.adversarial import common

WARMUP = 1_000  # steps of the pretrained policy where there are no data; our choice


def get_config(argument="paper"):
    config, preset = common.start("figure9", argument)
    config.online.capacity = common.PRESETS["paper"].capacity  # holds all of the data
    config.online.warmup_actions = "policy"
    runs = []
    for share in common.OFFLINE_SHARES:
        warmup = 0 if share else min(WARMUP, preset.chunk)
        steps = {
            "online.steps": preset.fixed_steps + warmup,
            "online.warmup": warmup,
        }
        runs.append(common.ADVERSARIAL | {"online.prefill": share} | steps)
    return common.with_runs(config, runs)
