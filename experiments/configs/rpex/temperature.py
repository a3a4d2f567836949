"""Does a temperature that adapts spare the choice of one? Against four fixed ones.

PEX's results hang on it, and the papers search it by hand: here lambda of 1, 3, 10 and
30, and one that starts at 3 and keeps the entropy of selection at a half of its most.
"""

from experiments.configs.rpex import common

FIXED = (1.0, 3.0, 10.0, 30.0)
START, RATE = 3.0, 1e-3


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.base = ("riql",)
    config.sweep.method = common.SETS
    config.sweep.corruption = ("observation", "dynamics")
    config.sweep.axes = (
        f"expansion.inv_temperature={','.join(map(str, FIXED))}",
        f"expansion.temperature_rate=0.0,{RATE}",
    )
    config.sweep.skip = tuple(
        f"expansion.inv_temperature={value} expansion.temperature_rate={RATE}"
        for value in FIXED
        if value != START
    )
    return config.lock()
