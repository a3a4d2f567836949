"""Table 3: what does the range in which the correction's weights are clipped do?"""

from experiments.configs.rpex import common

RANGES = ((-1e4, 100.0), (-100.0, 100.0), (0.0, 100.0), (-1e4, 1e4))


def get_config(argument="paper"):
    config = common.start(argument, "Walker2d-v4")
    config.sweep.base = ("riql",)
    config.sweep.method = ("rpex", "rpex-released")
    config.sweep.corruption = ("dynamics", "action")
    lowest, highest = (tuple(dict.fromkeys(edge)) for edge in zip(*RANGES, strict=True))
    config.sweep.axes = (
        f"expansion.lowest_weight={','.join(map(str, lowest))}",
        f"expansion.highest_weight={','.join(map(str, highest))}",
    )
    config.sweep.skip = tuple(
        f"expansion.lowest_weight={low} expansion.highest_weight={high}"
        for low in lowest
        for high in highest
        if (low, high) not in RANGES
    )
    return config.lock()
