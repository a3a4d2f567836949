"""What does adversarial corruption do offline and online, beside random corruption?

Set `attacker` to the folder that `experiments/configs/attacker.py` trains.
"""

from experiments.configs.rpex import common
from rpex_jax.attacks.corruption import ELEMENTS


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.base = ("iql", "riql")
    config.sweep.method = ("direct", *common.SETS)
    adversarial = tuple(f"adversarial-{element}" for element in ELEMENTS)
    config.sweep.corruption = ELEMENTS + adversarial
    return config.lock()
