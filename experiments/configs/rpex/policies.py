"""Do more frozen policies help? PEX and RPEX with sets of 2, 4, 8 and 16.

The frozen ones are snapshots of the pretraining; and, in one set more, the pretrained
policies of all seeds. The papers have 2 and leave larger sets open.
"""

from experiments.configs.rpex import common

SIZES = (2, 4, 8, 16)


def get_config(argument="paper"):
    config = common.start(argument)
    config.sweep.base = ("riql",)
    config.sweep.method = common.SETS
    config.sweep.corruption = ("observation", "dynamics")
    config.offline.chunk = min(config.offline.chunk, config.offline.steps // 20)
    of_seeds = len(config.sweep.seed) + 1
    sizes = sorted({*SIZES, of_seeds})
    config.sweep.axes = (
        "expansion.members=snapshots,seeds",
        f"expansion.num_policies={','.join(map(str, sizes))}",
    )
    allowed = {"snapshots": SIZES, "seeds": (of_seeds,)}
    config.sweep.skip = tuple(
        f"expansion.members={members} expansion.num_policies={size}"
        for members in allowed
        for size in sizes
        if size not in allowed[members]
    )
    return config.lock()
