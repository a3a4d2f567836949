"""SAC and TD3 from scratch, against the reference implementations' own loops.

    python -m benchmarks.online_learning --out=runs/online-learning \
      --peers=.venv-peers/bin/python

Both sides get the same networks, batches, rates, noise, uniform warm-up, and one update
a step; both are evaluated at equal steps in greedy episodes of the same environment.
Every cell, (library, algorithm, environment), is a file of rows under `--out`, written
when it is done; the same command goes on with the cells that are missing.
"""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import numpy as np

from benchmarks.online_loops import OURS, Settings, loop_speeds, ours, peers
from benchmarks.peer_process import PEERS_PYTHON, find_peers
from experiments.command_line import OUT, refuse_arguments, run
from experiments.folders import check_out, provenance
from experiments.progress import progress_bar
from experiments.reports import figures
from experiments.settings import ConfigError
from rpex_jax import results

matplotlib.use("agg")
import matplotlib.pyplot as plt

# SBX is the faster peer, but its TD3 moves the targets at every step and takes the
# smaller Q in the actor's loss; Stable-Baselines3's is the paper's, as ours.
PEERS = {"sac": "sbx", "td3": "stable_baselines3"}
BUDGETS = {  # steps, warm-up, between evaluations
    "InvertedDoublePendulum-v5": (30_000, 1_000, 1_000),
    "Hopper-v5": (30_000, 3_000, 3_000),
    "HalfCheetah-v5": (30_000, 3_000, 3_000),
}
Curves = dict[int, list[tuple[int, float]]]  # seed -> (step, mean return)


def main(argv: list[str]) -> None:
    refuse_arguments(argv)
    if not OUT.value:
        raise ConfigError("--out is not given; it must be a folder for rows and curves")
    check_out("--out", Path(OUT.value))
    out, python = Path(OUT.value), find_peers(PEERS_PYTHON.value)
    out.mkdir(parents=True, exist_ok=True)
    for algorithm, peer in PEERS.items():
        for env, budget in BUDGETS.items():
            run_cell(out, Settings(OURS, algorithm, env, *budget), ours)
            if python:
                settings = Settings(peer, algorithm, env, *budget)
                run_cell(out, settings, lambda cell: peers(cell, python))
    speeds = out / "speeds.json"
    if python and not speeds.exists():
        rows = [row for name in PEERS for row in loop_speeds(name, python)]
        results.write_atomically(speeds, json.dumps(rows, indent=1))
    print(report(out))


def run_cell(
    out: Path, settings: Settings, learn: Callable[[Settings], Iterator[dict]]
) -> None:
    """Trains a cell whose file is missing, and writes the file when all is done."""
    path = out / f"{settings.name}.jsonl"
    if path.exists():
        return
    rows = [{"settings": settings._asdict()}]
    total = settings.steps * len(settings.seeds)
    with progress_bar(settings.name, total, "step") as bar:
        for row in learn(settings):
            rows.append(row)
            bar.update(settings.evaluate_every)
    results.write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))


def report(out: Path) -> str:
    """Writes `report.md` and `curves.png` of the cells that are done."""
    cells = read_cells(out)
    plot(cells, out / "curves.png")
    made_with = provenance("benchmarks.online_learning")
    parts = ["".join(f"{key}: {value}  \n" for key, value in made_with.items())]
    parts.append(return_table(cells))
    if (out / "speeds.json").exists():
        parts.append(speed_table(json.loads((out / "speeds.json").read_text())))
    parts.append("![learning curves](curves.png)")
    text = "\n\n".join(parts) + "\n"
    results.write_atomically(out / "report.md", text)
    return text


def read_cells(out: Path) -> dict[tuple[str, str, str], Curves]:
    """All cells that are done, by (algorithm, environment, library)."""
    cells = {}
    for path in sorted(out.glob("*.jsonl")):
        head, *rows = results.read_rows(path)
        curves: Curves = {}
        for row in rows:
            point = (row["step"], float(np.mean(row["returns"])))
            curves.setdefault(row["seed"], []).append(point)
        cell = head["settings"]
        cells[cell["algorithm"], cell["env"], cell["library"]] = curves
    return cells


def return_table(cells: dict[tuple[str, str, str], Curves]) -> str:
    """Final returns, the mean of a run's last three evaluations."""
    rows = []
    for algorithm, peer in PEERS.items():
        for env, (steps, _, _) in BUDGETS.items():
            sides = (final(cells.get((algorithm, env, who))) for who in (OURS, peer))
            rows.append([algorithm, env, f"{steps}", next(sides), peer, next(sides)])
    header = ["algorithm", "environment", "steps", OURS, "peer", "its return"]
    return results.markdown_table(header, rows)


def final(curves: Curves | None) -> str:
    """Mean ± standard error over seeds."""
    if curves is None:
        return "-"
    summary = results.summarise([results.final_score(c) for c in curves.values()])
    return f"{summary.mean:.0f} ± {summary.standard_error:.0f}"


def speed_table(rows: list[dict]) -> str:
    """Steps per second of each loop; the ratio is to ours with one run."""
    alone = {
        row["algorithm"]: row["steps_per_s"]
        for row in rows
        if (row["library"], row["runs"]) == (OURS, 1)
    }
    return results.markdown_table(
        ["algorithm", "library", "runs at once", "steps/s", "rpex_jax's 1 run / it"],
        [
            [
                row["algorithm"],
                row["library"],
                f"{row['runs']}",
                f"{row['steps_per_s']:.0f}",
                f"{alone[row['algorithm']] / row['steps_per_s']:.2f}",
            ]
            for row in rows
        ],
    )


def plot(cells: dict[tuple[str, str, str], Curves], path: Path) -> None:
    """Mean and standard error over seeds, a panel for each cell."""
    figure, panels = plt.subplots(
        len(PEERS), len(BUDGETS), figsize=(12, 6), layout="constrained", squeeze=False
    )
    for row, (algorithm, peer) in zip(panels, PEERS.items(), strict=True):
        for panel, env in zip(row, BUDGETS, strict=True):
            panel.set(title=f"{algorithm}, {env}", xlabel="steps", ylabel="return")
            for library, colour in ((OURS, "tab:blue"), (peer, "tab:orange")):
                if (curves := cells.get((algorithm, env, library))) is None:
                    continue
                points = np.array(list(curves.values()))  # [seed, point, 2]
                steps, mean = points[0, :, 0], points[..., 1].mean(0)
                error = points[..., 1].std(0, ddof=1) / math.sqrt(len(points))
                panel.plot(steps, mean, color=colour, label=library)
                panel.fill_between(
                    steps, mean - error, mean + error, color=colour, alpha=0.3
                )
                panel.legend()
    figures.save(figure, path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    run(main)
