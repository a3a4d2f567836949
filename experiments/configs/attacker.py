"""An EDAC agent on clean data, whose values adversarial corruption lowers.

Its folder is what `--config.attacker` of a study with adversarial damage names.
"""

from experiments.configs.default import default_config


def get_config():
    config = default_config()
    config.sweep.base = ("edac",)
    config.sweep.method = ("offline",)
    config.sweep.corruption = ("clean",)
    config.sweep.seed = (0,)
    config.offline.steps = 3_000_000
    return config.lock()
