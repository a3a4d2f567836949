"""One attack on a policy: differential evolution, with a study's settings."""

from ml_collections import ConfigDict

from experiments.configs.default import default_config


def get_config():
    config = ConfigDict(default_config().attack.to_dict())  # explained there
    config.bound = 0.3  # epsilon, in (0, 1]
    config.seed = 0  # of the searches, beside each run's own
    return config.lock()
