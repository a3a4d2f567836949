"""Is it enough to keep the value functions? Their mix as a rival of policy expansion.

One policy, whose advantages are w parts of the pretrained, frozen functions' and 1 - w
of those that learn; w = 0 is direct fine-tuning. Beside PEX and RPEX.
"""

from experiments.configs.rpex import common

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.base = ("riql",)
    config.sweep.method = (*common.SETS, "mix")
    config.sweep.corruption = ("observation", "dynamics")
    config.sweep.axes = (f"mix.weight={','.join(map(str, WEIGHTS))}",)
    config.sweep.skip = tuple(
        f"method={method} mix.weight={weight}"
        for method in common.SETS
        for weight in WEIGHTS[1:]
    )
    return config.lock()
