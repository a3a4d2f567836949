"""What the whole of RPEX's Table 1 would take on this machine, with the arithmetic."""

from typing import NamedTuple

import numpy as np

from experiments import study_cost, study_inputs
from experiments.configs.rpex import table1
from experiments.study_cost import Work
from rpex_jax import results, sweep
from rpex_jax.envs import Env

TASKS = ("HalfCheetah-v4", "Walker2d-v4", "Hopper-v4")


class Item(NamedTuple):
    """Programs of one kind, of all tasks."""

    phase: str
    base: str
    methods: str
    runs: int
    updates: int  # of all runs
    flops: int  # of all updates


def protocol() -> tuple[list[Item], int, Env]:
    """The study's training, its steps of evaluation, and its last environment.

    Episodes of evaluations count as of full length.
    """
    items, evaluated = [], 0
    for task in TASKS:
        config = table1.get_config(f"paper,{task}")
        env = study_inputs.make_env(config)
        for phase, work_of in (
            ("offline", study_cost.offline_work),
            ("online", study_cost.online_work),
        ):
            items += [item_of(phase, work) for work in work_of(config, env.spec)]
        evaluated += study_cost.evaluation_steps(config, env)
    grouped = sweep.group_by(items, lambda item: item[:3])
    merged = [
        Item(*kind, *np.sum([item[3:] for item in same], axis=0).tolist())
        for kind, same in grouped.items()
    ]
    return merged, evaluated, env


def item_of(phase: str, work: Work) -> Item:
    """One program's share; pretraining serves all methods."""
    methods = "all"
    if phase == "online":
        methods = ", ".join(dict.fromkeys(run.labels["method"] for run in work.members))
    return Item(
        phase,
        work.members[0].labels["base"],
        methods,
        len(work.members),
        work.updates,
        work.flops * work.updates,
    )


def arithmetic(
    items: list[Item], rates: dict[str, float], evaluated: int, steps_per_s: float
) -> str:
    """Hours of every item and their sum, in Markdown.

    Args:
      items: what is to be done.
      rates: operations in matrix products a second, by phase.
      evaluated: environment steps of evaluations.
      steps_per_s: of evaluations.
    """
    hours = [item.flops / rates[item.phase] / 3600 for item in items]
    evaluation_hours = evaluated / steps_per_s / 3600
    lines = [
        [
            f"{item.phase} {item.base}, {item.methods}",
            f"{item.runs}",
            f"{item.updates / 1e6:.0f} M",
            f"{item.flops / item.updates / 1e9:.2f}",
            f"{rates[item.phase] / 1e9:.0f}",
            f"{needed:.1f}",
        ]
        for item, needed in zip(items, hours, strict=True)
    ]
    total = sum(hours) + evaluation_hours
    table = results.markdown_table(
        ["training", "runs", "updates", "GFLOP an update", "GFLOP/s", "hours"], lines
    )
    return (
        f"{table}\n\n"
        "Hours are updates x GFLOP an update / GFLOP/s / 3600. Evaluations take "
        f"{evaluated / 1e6:.0f} M steps at {steps_per_s:.0f} a second: "
        f"{evaluation_hours:.1f} hours. In all **{total:.0f} hours**, "
        f"{total / 24:.1f} days, compiling not counted."
    )
