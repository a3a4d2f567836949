"""PEX against RPEX on IQL and RIQL: Table 1 of RPEX, ours beside the paper's.

    python -m benchmarks.pex_vs_rpex --preset=small \
      --tasks=Hopper-v4,HalfCheetah-v4,Walker2d-v4 --out=runs/pex-vs-rpex [--resume]

Each environment is a study in a folder of its own, which `experiments.sweep` could have
made from `experiments/configs/rpex/table1.py`. Before anything trains it says what the
device needs for all of it. A score is the mean of a run's last three evaluations; below
the table RPEX is held against PEX over all rows, by `rpex_jax.comparison`: as it is
printed, and as its released code runs, which made the paper's numbers.

Source: RPEX, arXiv 2509.24748, Table 1 and appendix C.1.
"""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict

from benchmarks.study_flags import DATA, IGNORED, PRESET, TASKS, check_data, studies
from experiments import folders, sweep
from experiments.command_line import (
    OUT,
    cache_compilations,
    refuse_arguments,
    run,
)
from experiments.configs.rpex import table1
from experiments.reports.comparison import cell as cell_text
from experiments.reports.comparison_results import read_curves
from experiments.reports.document import sentence
from experiments.settings import check_name
from experiments.study_cost import estimate
from rpex_jax import results
from rpex_jax.attacks.corruption import ELEMENTS
from rpex_jax.comparison import (
    Scores,
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)

DEFAULT_TASKS = ["Hopper-v4", "HalfCheetah-v4", "Walker2d-v4"]
_ELEMENTS = flags.DEFINE_list("elements", list(ELEMENTS), "What is corrupted.")

RPEX = ("rpex", "rpex-released")
COLUMNS = tuple((base, m) for base in ("iql", "riql") for m in ("direct", "pex", *RPEX))
# Table 1 of the paper: offline and online score of direct fine-tuning, then PEX and
# RPEX online, for IQL, and the same for RIQL; medium-replay, 5 seeds.
PAPER = {
    "HalfCheetah": {
        "observation": (21.4, 21.7, 21.5, 21.9, 19.73, 21.3, 20.9, 22.5),
        "action": (42.9, 48.4, 65.9, 69.2, 43.5, 49.9, 70.2, 77.8),
        "reward": (41.9, 44.5, 47.0, 52.7, 43.6, 49.7, 67.1, 73.6),
        "dynamics": (37.1, 35.8, 37.0, 36.9, 42.0, 45.3, 44.7, 44.4),
    },
    "Walker2d": {
        "observation": (8.7, 17.0, 20.8, 23.3, 32.2, 17.0, 25.6, 30.5),
        "action": (64.7, 106.8, 105.3, 106.4, 85.9, 48.8, 109.2, 118.9),
        "reward": (77.2, 90.1, 90.1, 94.5, 81.8, 91.3, 91.9, 100.5),
        "dynamics": (14.9, 4.5, 6.8, 4.7, 80.0, 87.4, 89.5, 92.2),
    },
    "Hopper": {
        "observation": (75.8, 36.1, 45.4, 76.9, 78.3, 29.2, 45.9, 73.1),
        "action": (93.4, 95.0, 102.2, 106.2, 75.9, 95.8, 93.2, 112.6),
        "reward": (55.2, 97.8, 99.8, 102.6, 72.9, 68.3, 90.1, 100.6),
        "dynamics": (0.8, 6.0, 0.7, 13.4, 44.6, 54.2, 51.0, 55.2),
    },
}


class Cell(NamedTuple):
    """Scores of one column in one row of the table, over seeds."""

    offline: list[float]
    online: list[float]


Cells = dict[tuple[str, str, str, str], Cell]  # (task, element, base, method)


def main(argv: list[str]) -> None:
    refuse_arguments(argv, ignored=IGNORED)
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file it touches
    out = Path(OUT.value or "runs/pex-vs-rpex")
    configs = make_configs(
        PRESET.value, TASKS.value or DEFAULT_TASKS, _ELEMENTS.value, DATA.value
    )
    folders.check_out("--out", out)
    check_data(configs)
    cache_compilations()
    if PRESET.value != "smoke":  # whose training takes no longer
        print(estimate(configs), flush=True)
    for config in configs:
        sweep.run_study(config, out / config.env, resume=sweep.RESUME.value)
    text = report_of(out)
    results.write_atomically(out / "table1.md", text)
    print(text)


def make_configs(
    preset: str, tasks: list[str], elements: list[str], data: list[str]
) -> list[ConfigDict]:
    """A study for each task, checked.

    Raises:
      ConfigError: an unknown element, and as `studies`.
    """
    for element in elements:
        check_name("--elements", element, ELEMENTS)
    grid = {"corruption": tuple(elements)}
    return studies(table1.get_config, preset, tasks, data, **grid)


def report_of(out: Path) -> str:
    """Table 1 of the studies in a folder, finished or not, in Markdown."""
    cells: Cells = {}
    notes = set()
    for folder in sorted(path.parent for path in out.glob("*/config.json")):
        config = json.loads((folder / "config.json").read_text())
        notes.add(config["note"])
        for (base, method), curves in read_curves(folder, config).items():
            for curve in curves:
                key = (config["env"], curve.corruption, base, method)
                cell = cells.setdefault(key, Cell([], []))
                cell.offline.append(curve.offline)
                cell.online.append(results.final_score(curve.points))
    header = ["environment", "element", *(" ".join(column) for column in COLUMNS)]
    rows = []
    for task, element in dict.fromkeys(key[:2] for key in cells):
        row = [cells.get((task, element, *column)) for column in COLUMNS]
        rows.append([task, element, *map(text_of, row)])
        if paper := PAPER[task.split("-")[0]].get(element):
            rows.append(["", "paper", *paper_row(paper)])
    note = "; ".join(sorted(filter(None, notes)))
    return (
        f"{sentence(note)}\n\n{results.markdown_table(header, rows)}\n\n"
        "The paper's RPEX stands under rpex-released, the rule that its code runs.\n\n"
        f"{verdicts(cells)}\n"
    )


def text_of(cell: Cell | None) -> str:
    """'offline -> online ± SE'."""
    return "-" if cell is None else cell_text(list(zip(*cell, strict=True)))


def paper_row(numbers: tuple[float, ...]) -> list[str]:
    """The paper's numbers in our columns; it has none of its rule as printed."""
    row = []
    for offline, *online in (numbers[:4], numbers[4:]):
        direct, pex, rpex = (f"{offline:.1f} -> {score:.1f}" for score in online)
        row += [direct, pex, "-", rpex]
    return row


def verdicts(cells: Cells) -> str:
    """A line a base and rule: RPEX against PEX, over all rows that both have.

    Interquartile means pool runs, so every row has as many there, its first.
    """
    lines = []
    for base, rule in itertools.product(("iql", "riql"), RPEX):
        rows = [
            row
            for row in dict.fromkeys(key[:2] for key in cells)
            if all((*row, base, method) in cells for method in ("pex", rule))
        ]
        if not rows:
            continue
        pex, rpex = (
            {" ".join(row): cells[*row, base, method].online for row in rows}
            for method in ("pex", rule)
        )
        above = sum(np.mean(rpex[row]) > np.mean(pex[row]) for row in rpex)
        fewest = min(len(scores) for scores in (*pex.values(), *rpex.values()))
        means = [
            spread(interquartile_mean, {row: x[:fewest] for row, x in scores.items()})
            for scores in (rpex, pex)
        ]
        lines.append(
            f"{base}: {rule} is above pex in {above} of {len(rows)} rows; a run of it "
            "is above one of pex with probability "
            f"{spread(probability_of_improvement, rpex, pex)}; interquartile means of "
            f"{fewest} runs a row {means[0]} and {means[1]}."
        )
    return "\n".join(lines)


def spread(statistic: Callable[..., np.ndarray], *samples: Scores) -> str:
    """A number with its 95 % stratified bootstrap interval."""
    low, high = stratified_bootstrap(statistic, *samples)
    return f"{statistic(*samples):.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    run(main)
