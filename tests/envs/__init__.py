import warnings

import gymnasium


def gymnasium_env(name):
    """Gymnasium's own, without its warning that v4 is outdated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gymnasium.make(name, disable_env_checker=True)
