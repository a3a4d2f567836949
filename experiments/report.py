"""Turns a results folder, finished or running, into `report.md` and plots.

python -m experiments.report runs/quickstart
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from absl import app

from experiments import adversarial_report
from experiments.settings import ConfigError
from experiments.study_results import as_scores
from rpex_jax import results
from rpex_jax.data import scores

COLOURS = {
    "scratch": "tab:olive",
    "buffer": "tab:green",
    "direct": "tab:gray",
    "pex": "tab:blue",
    "rpex": "tab:red",
}


class Curve(NamedTuple):
    """The evaluations of one online run, with its pretraining's at step 0."""

    corruption: str
    offline: float  # score of the pretrained policy, its last evaluation
    points: list[tuple[int, float]]  # (online step, mean score)


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("give one results folder")
    folder = Path(argv[1])
    try:
        print(write(folder))
    except ConfigError as error:
        sys.exit(f"error: {error}")


def write(folder: Path) -> str:
    """Writes `report.md` and a PNG a base; returns the table and the path.

    A study of adversarial fine-tuning, or a folder of them, has a report of its own.

    Raises:
      ConfigError: there are no results.
    """
    if not (folder / "config.json").exists():
        return adversarial_report.write(folder)
    config = json.loads((folder / "config.json").read_text())
    if config.get("study"):
        return adversarial_report.write(folder)
    curves = read_curves(folder, config)
    unit = "D4RL score" if scores.has_reference(config["env"]) else "return"
    tables, plots = [], []
    for base in config["sweep"]["base"]:
        of_base = {method: c for (b, method), c in curves.items() if b == base}
        if of_base:
            tables.append(
                comparison_table(base, of_base, config["sweep"]["corruption"])
            )
            plots.append(folder / f"curves-{base}.png")
            plot_curves(of_base, config, unit, plots[-1])
    table = "\n\n".join(tables)
    seeds, episodes = len(config["sweep"]["seed"]), config["evaluation"]["episodes"]
    text = f"""# {config["env"]} from {config["data"]["source"]}

{config["note"].capitalize()}{"." if config["note"] else ""}

{unit}: mean ± standard error over {seeds} seeds, offline -> after online training.
Offline is the pretrained policy; online is the mean of a run's last three evaluations
of {episodes} episodes. Budget: {config["offline"]["steps"]:,} offline updates and
{config["online"]["steps"]:,} online steps a run.

{table}

"""
    text += "".join(f"![learning curves]({plot.name})\n" for plot in plots)
    results.write_atomically(folder / "report.md", text)
    return f"{table}\n\nreport: {folder / 'report.md'}"


def read_curves(folder: Path, config: dict) -> dict[tuple[str, str], list[Curve]]:
    """(base, method) -> the curves of its runs, over corruptions and seeds.

    A further axis of the grid tells methods apart: `rpex expansion.kappa=0.3`.
    """
    further = [axis.partition("=")[0] for axis in config["sweep"]["axes"]]
    steps = config["online"]["steps"]
    offline: dict[int, float] = {}
    pretrainings: dict[int, dict] = {}
    online: dict[str, tuple[dict, list]] = {}
    for row in results.read_rows(folder / "chunks.jsonl"):
        if "returns" not in row or row["phase"] == "pretrained":
            continue
        score = float(np.mean(as_scores(config["env"], row["returns"])))
        if row["phase"] == "offline":
            offline[row["pretraining"]] = score  # rows of a run are in order of time
            pretrainings[row["pretraining"]] = row
        else:
            names = ["base", "method", "corruption", "seed", *further]
            labels = {name: row[name] for name in names}
            labels["pretraining"] = row["pretraining"]
            run = json.dumps(labels)
            online.setdefault(run, (labels, []))[1].append((row["step"], score))
    curves: dict[tuple[str, str], list[Curve]] = {}
    if "offline" in config["sweep"]["method"]:
        for labels in pretrainings.values():
            score = offline[labels["pretraining"]]
            curve = Curve(labels["corruption"], score, [(steps, score)])
            curves.setdefault((labels["base"], "offline"), []).append(curve)
    for labels, points in online.values():
        name = " ".join([labels["method"], *(f"{k}={labels[k]}" for k in further)])
        curve = Curve(labels["corruption"], offline[labels["pretraining"]], points)
        curves.setdefault((labels["base"], name), []).append(curve)
    return curves


def comparison_table(
    base: str, curves: dict[str, list[Curve]], corruptions: list[str]
) -> str:
    """Methods x corruptions in Markdown, and the average over corruptions."""
    rows = []
    for method, of_method in curves.items():
        finals = {
            corruption: [
                (curve.offline, results.final_score(curve.points))
                for curve in of_method
                if curve.corruption == corruption
            ]
            for corruption in corruptions
        }
        cells = [cell(pairs) for pairs in finals.values()]
        means = [np.mean(pairs, axis=0) for pairs in finals.values() if pairs]
        before, after = np.mean(means, axis=0)
        cells.append(f"{before:.1f} -> {after:.1f}")
        rows.append([method, *cells])
    return results.markdown_table([base, *corruptions, "average"], rows)


def cell(pairs: list[tuple[float, float]]) -> str:
    """'offline -> online ± SE' of one method under one corruption, over seeds."""
    if not pairs:
        return "-"
    before, after = zip(*pairs, strict=True)
    summary = results.summarise(after)
    return f"{np.mean(before):.1f} -> {summary.mean:.1f} ± {summary.standard_error:.1f}"


def plot_curves(
    curves: dict[str, list[Curve]], config: dict, unit: str, path: Path
) -> None:
    """A panel a corruption, a line a method: mean over seeds, band of one SE."""
    corruptions = config["sweep"]["corruption"]
    figure, panels = plt.subplots(
        1,
        len(corruptions),
        figsize=(3.4 * len(corruptions), 3.2),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, corruption in zip(panels[0], corruptions, strict=True):
        for method, of_method in curves.items():
            runs = [c for c in of_method if c.corruption == corruption]
            if not runs:
                continue
            # An unfinished sweep may have runs of different lengths.
            length = min(len(run.points) for run in runs)
            steps = [0, *(step for step, _ in runs[0].points[:length])]
            values = [[r.offline, *(y for _, y in r.points[:length])] for r in runs]
            over_seeds = [results.summarise(v) for v in zip(*values, strict=True)]
            mean = np.array([s.mean for s in over_seeds])
            error = np.nan_to_num([s.standard_error for s in over_seeds])
            colour = COLOURS.get(method)
            (line,) = panel.plot(steps, mean, label=method, color=colour)
            panel.fill_between(
                steps, mean - error, mean + error, alpha=0.2, color=line.get_color()
            )
        panel.set(title=corruption, xlabel="online steps")
        panel.grid(alpha=0.3)
        panel.locator_params(axis="x", nbins=5)
    panels[0][0].set_ylabel(unit)
    lines = {line.get_label(): line for panel in panels[0] for line in panel.lines}
    figure.legend(
        handles=lines.values(),
        loc="outside lower center",
        ncols=len(corruptions),
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    app.run(main)
