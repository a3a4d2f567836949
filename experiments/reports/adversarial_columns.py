"""The columns of the paper's tables, and the lines of its figures, by their runs."""

import itertools

from experiments.configs.adversarial import common
from experiments.study_results import Column

OFFLINE = Column("offline", {}, pretrained=True)
FULLY_ONLINE = Column("fully online (adversarial)", common.FULLY_ONLINE)
NORMAL = Column("fine-tuned (normal)", common.NORMAL)
RANDOM = Column("fine-tuned (random)", common.RANDOM)
ADVERSARIAL = Column("fine-tuned (adversarial)", common.ADVERSARIAL)
LINEAR = Column("linear", common.LINEAR)
ADAPTIVE = Column("adaptive", common.ADAPTIVE)
PGD = Column("PGD, adaptive", common.PGD)
SAC = Column("adaptive", common.ADAPTIVE | {"method": "sac"})
Q_MAX = {
    q_max: Column(f"q_max {q_max:g}", common.LINEAR | {"curriculum.q_max": q_max})
    for q_max in common.Q_MAX
}
SHARES = {
    share: Column(f"share {share:g}", common.ADVERSARIAL | {"online.prefill": share})
    for share in common.OFFLINE_SHARES
}
BC = {
    weight: Column(name, common.ADVERSARIAL | {"online.bc_weight": weight})
    for weight, name in {0.0: "BC dropped", 1.0: "BC kept"}.items()
}
GRID = {
    (smoothing, step_size): Column(
        f"smoothing {smoothing:g}, step size {step_size:g}",
        common.ADAPTIVE
        | {"curriculum.smoothing": smoothing, "curriculum.step_size": step_size},
    )
    for smoothing, step_size in itertools.product(common.SMOOTHING, common.STEP_SIZE)
}


def at_third(column: Column, third: int) -> Column:
    """The column where so many thirds of the budget are spent."""
    return column._replace(name=f"{column.name}, {third}/3", third=third)


def thirds(*columns: Column) -> list[Column]:
    """Each of them at one, two and three thirds of the budget."""
    return [at_third(column, third) for column in columns for third in (1, 2, 3)]
