"""Table 6: what does the strength of online corruption do to PEX and RPEX?

Range and rate (0, 0), (2, 0.3) and (1, 0.5); the offline data stay as they are.
"""

from experiments.configs.rpex import common

LEVELS = ((0.0, 0.0), (2.0, 0.3), (1.0, 0.5))  # scale, rate


def get_config(argument="paper"):
    config = common.start(argument, "Walker2d-v4")
    config.sweep.base = ("riql",)
    config.sweep.method = common.SETS
    config.sweep.corruption = ("action", "dynamics")
    scales, rates = zip(*LEVELS, strict=True)
    config.sweep.axes = (
        f"online.scale={','.join(map(str, scales))}",
        f"online.rate={','.join(map(str, rates))}",
    )
    config.sweep.skip = tuple(
        f"online.scale={scale} online.rate={rate}"
        for scale in scales
        for rate in rates
        if (scale, rate) not in LEVELS
    )
    return config.lock()
