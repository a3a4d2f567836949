"""Figure 8: does RPEX still win under mixed and under adversarial corruption?

Mixed is dynamics offline, dynamics and rewards online; adversarial is random dynamics
offline, adversarial dynamics online. Set `attacker`: `experiments/configs/attacker.py`.
"""

from experiments.configs.rpex import common


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.seed = config.sweep.seed[:3]
    config.sweep.base = ("riql",)
    config.sweep.method = ("direct", *common.SETS)
    config.sweep.corruption = ("mixed", "online-adversarial-dynamics")
    return config.lock()
