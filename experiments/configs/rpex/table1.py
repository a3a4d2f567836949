"""Table 1: does RPEX beat PEX and direct fine-tuning, on IQL and RIQL, per element?"""

from experiments.configs.rpex import common
from rpex_jax.attacks.corruption import ELEMENTS


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.base = ("iql", "riql")
    config.sweep.method = ("direct", *common.SETS)
    config.sweep.corruption = ELEMENTS
    return config.lock()
