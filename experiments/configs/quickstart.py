"""A smoke test of the whole method on Hopper: minutes on two cores, not a result."""

from experiments.configs.default import default_config


def get_config():
    config = default_config()
    config.note = "smoke-sized budget: it shows that everything runs, not who wins"
    config.sweep.base = ("iql",)
    config.sweep.corruption = ("clean", "action", "reward")
    config.sweep.seed = (0, 1)
    config.corruptions.action.settings = ()
    config.offline.steps = 2_000
    config.offline.chunk = 1_000
    config.online.steps = 1_500
    config.online.warmup = 500
    config.online.chunk = 500
    config.evaluation.episodes = 5
    return config.lock()
