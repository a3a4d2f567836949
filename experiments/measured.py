"""What is measured of a sweep's policies: a table, histograms, and a file of all runs.

`experiments.measure` makes it; reports show it. Definitions are in docs/measures.md.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments import folders
from experiments.labels import label_cells, label_names
from experiments.reports import figures
from rpex_jax import results, sweep

EDGES = np.linspace(-3.0, 3.0, 61)  # of the histograms; [-1, 1] can be executed
COLUMNS = {  # of the table: what a run may have, and its name there
    "kurtosis_before": "kurtosis before",
    "kurtosis": "kurtosis",
    "kurtosis_q_targets": "of Q targets",
    "selection/online_share": "online share",
    "selection/effective_members": "effective members",
    "selection/correction_size": "correction, size",
    "selection/correction_range": "range",
    "selection/clipped_low": "clipped low",
    "selection/clipped_high": "high",
}
ABOUT = (
    "Kurtosis is excess kurtosis, mean over action dimensions, of one sampled action "
    "at each state; before: of the policy that a run started from. ±: standard error "
    "over seeds."
)


class Measured(NamedTuple):
    """One run."""

    labels: dict[str, Any]
    step: int
    numbers: dict[str, float]  # NaN where something cannot be measured
    before: np.ndarray  # counts of actions, [action_dim, bins]
    after: np.ndarray


def over_seeds(runs: list[Measured]) -> dict[tuple[str, ...], list[Measured]]:
    """Runs that differ in their seed alone, by their labels and step as text."""
    names = [name for name in label_names(runs) if name != "seed"]
    return sweep.group_by(runs, lambda r: (*label_cells(r.labels, names), str(r.step)))


def table(runs: list[Measured]) -> tuple[list[str], list[list[str]]]:
    """Means over seeds: header and rows."""
    names = [name for name in label_names(runs) if name != "seed"]
    columns = [c for c in COLUMNS if any(c in run.numbers for run in runs)]
    header = [*names, "step", "seeds", *(COLUMNS[c] for c in columns)]
    lines = [
        [*cells, str(len(members)), *(_cell(members, c) for c in columns)]
        for cells, members in over_seeds(runs).items()
    ]
    return header, lines


def markdown(runs: list[Measured]) -> str:
    """The table, and what its numbers are."""
    return f"{results.markdown_table(*table(runs))}\n\n{ABOUT}"


def _cell(members: list[Measured], column: str) -> str:
    values = [run.numbers.get(column, np.nan) for run in members]
    if not np.isfinite(values).all():
        return ""
    mean, error, count = results.summarise(values)
    return f"{mean:.2f} ± {error:.2f}" if count > 1 else f"{mean:.2f}"


def write(out: Path, runs: list[Measured], provenance: dict) -> None:
    """The table, the histograms and every run."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "edges": EDGES.tolist(),
        "runs": [
            {"labels": run.labels, "step": run.step}
            | {k: v if np.isfinite(v) else None for k, v in run.numbers.items()}
            | {"before": run.before.tolist(), "after": run.after.tolist()}
            for run in runs
        ],
    } | provenance
    results.write_atomically(out / "measures.json", json.dumps(content) + "\n")
    results.write_atomically(out / "measures.md", markdown(runs) + "\n")
    plot(runs, out / "actions.png")


def read(folder: Path) -> list[Measured]:
    """What `write` left in the folder; nothing if there is nothing."""
    file = folder / "measures.json"
    if not file.exists():
        return []
    return [_from_json(run) for run in folders.read_json(file)["runs"]]


def _from_json(run: dict) -> Measured:
    labels, step, before, after = (
        run.pop(name) for name in ("labels", "step", "before", "after")
    )
    numbers = {name: np.nan if x is None else x for name, x in run.items()}
    return Measured(labels, step, numbers, np.asarray(before), np.asarray(after))


def plot(runs: list[Measured], path: Path) -> None:
    """Histograms of all seeds together: a row a method, a panel an action dimension."""
    groups = over_seeds(runs)
    columns = len(runs[0].after)
    size = (2.4 * columns, 1.7 * len(groups))
    figure = Figure(size, layout="tight")
    panels = figure.subplots(len(groups), columns, squeeze=False)
    for (cells, members), row in zip(groups.items(), panels, strict=True):
        before = sum(run.before for run in members)
        after = sum(run.after for run in members)
        for k, panel in enumerate(row):
            panel.stairs(before[k], EDGES, fill=True, color="0.75", label="before")
            panel.stairs(after[k], EDGES, color="C3", label="after")
            panel.set(yticks=[], xlim=(EDGES[0], EDGES[-1]))
        row[0].set_title(
            f"{' '.join(filter(None, cells[:-1]))}, step {cells[-1]}",
            loc="left",
            size=8,
        )
    for k, panel in enumerate(panels[-1]):
        panel.set_xlabel(f"action {k}")
    panels[0][-1].legend(fontsize=7)
    figures.save(figure, path, dpi=100)
