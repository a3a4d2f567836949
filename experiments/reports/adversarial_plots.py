"""Plots of studies of adversarial fine-tuning: a row of panels an environment."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reports import figures
from experiments.study_results import Column, Study, curve, runs_of, sample
from rpex_jax.results import Summary, summarise


def plot_curves(
    studies: Sequence[Study],
    columns: Sequence[Column],
    conditions: Sequence[str],
    path: Path,
) -> None:
    """A panel a condition, a line a column, against steps online.

    Lines are means over runs, bands one standard error over runs. What has no steps,
    the pretrained policies, is a dashed line.
    """
    figure, panels = panels_of(len(studies), len(conditions))
    for study, row in zip(studies, panels, strict=True):
        for condition, panel in zip(conditions, row, strict=True):
            for number, column in enumerate(columns):
                steps, values = curve(study, column, condition)
                if column.pretrained and values:
                    panel.axhline(
                        values[-1].mean,
                        linestyle="--",
                        color="black",
                        label=column.name,
                    )
                elif values:
                    draw_band(panel, steps, values, column.name, f"C{number}")
            panel.set(title=f"{study.env}, {condition}", xlabel="steps online")
        row[0].set_ylabel("D4RL score")
    save(figure, panels, path)


def plot_q(studies: Sequence[Study], columns: Sequence[Column], path: Path) -> None:
    """q over training: a panel an environment, a line a column."""
    figure, panels = panels_of(1, len(studies))
    for study, panel in zip(studies, panels[0], strict=True):
        for number, column in enumerate(columns):
            draw_q(panel, study, column, column.name, f"C{number}")
        panel.set(title=study.env, xlabel="steps online", ylim=(-0.02, 1.02))
    panels[0][0].set_ylabel("perturbation probability q")
    save(figure, panels, path)


def plot_q_grid(
    studies: Sequence[Study], grid: dict[tuple[float, float], Column], path: Path
) -> None:
    """q over training: a panel a smoothing factor, a line a step size."""
    smoothing, step_sizes = axes_of(grid)
    figure, panels = panels_of(len(studies), len(smoothing))
    for study, row in zip(studies, panels, strict=True):
        for alpha, panel in zip(smoothing, row, strict=True):
            for number, eta in enumerate(step_sizes):
                name = f"step size {eta:g}"
                draw_q(panel, study, grid[alpha, eta], name, f"C{number}")
            title = f"{study.env}, smoothing {alpha:g}"
            panel.set(title=title, xlabel="steps online", ylim=(-0.02, 1.02))
        row[0].set_ylabel("perturbation probability q")
    save(figure, panels, path)


def plot_against(
    studies: Sequence[Study],
    columns: dict[float, Column],
    name: str,
    conditions: Sequence[str],
    path: Path,
) -> None:
    """Final scores against a number: a panel an environment, a line a condition."""
    figure, panels = panels_of(1, len(studies))
    for study, panel in zip(studies, panels[0], strict=True):
        for condition in conditions:
            samples = {x: sample(study, c, condition) for x, c in columns.items()}
            points = [(x, s.summary) for x, s in samples.items() if s]
            if points:
                x, summaries = zip(*points, strict=True)
                error = np.nan_to_num([s.standard_error for s in summaries])
                mean = [s.mean for s in summaries]
                panel.errorbar(x, mean, error, marker="o", capsize=3, label=condition)
        panel.set(title=study.env, xlabel=name)
    panels[0][0].set_ylabel("final D4RL score")
    save(figure, panels, path)


def plot_heatmaps(
    studies: Sequence[Study],
    grid: dict[tuple[float, float], Column],
    conditions: Sequence[str],
    path: Path,
) -> None:
    """Final scores over the grid under each condition, and their mean."""
    smoothing, step_sizes = axes_of(grid)
    figure, panels = panels_of(len(studies), len(conditions) + 1)
    for study, row in zip(studies, panels, strict=True):
        of_conditions = np.array([grid_scores(study, grid, c) for c in conditions])
        maps = [*of_conditions, of_conditions.mean(0)]
        names = [*conditions, "mean of the conditions"]
        for name, values, panel in zip(names, maps, row, strict=True):
            image = panel.imshow(values, origin="lower", cmap="viridis", aspect="auto")
            figure.colorbar(image, ax=panel)
            for i, j in itertools.product(
                range(len(smoothing)), range(len(step_sizes))
            ):
                dark = image.norm(values[i, j]) < 0.6
                text = f"{values[i, j]:.0f}" if np.isfinite(values[i, j]) else "-"
                colour = "white" if dark else "black"
                panel.text(j, i, text, ha="center", va="center", color=colour)
            panel.set(
                title=f"{study.env}, {name}",
                xlabel="step size",
                xticks=range(len(step_sizes)),
                xticklabels=[f"{eta:g}" for eta in step_sizes],
                yticks=range(len(smoothing)),
                yticklabels=[f"{alpha:g}" for alpha in smoothing],
            )
        row[0].set_ylabel("smoothing factor")
    figures.save(figure, path, dpi=120)
    plt.close(figure)


def grid_scores(
    study: Study, grid: dict[tuple[float, float], Column], condition: str
) -> np.ndarray:
    """Mean final scores, [smoothing factors, step sizes]; NaN where there are none."""
    smoothing, step_sizes = axes_of(grid)
    samples = [
        [sample(study, grid[alpha, eta], condition) for eta in step_sizes]
        for alpha in smoothing
    ]
    return np.array([[s.summary.mean if s else np.nan for s in row] for row in samples])


def axes_of(
    grid: dict[tuple[float, float], Column],
) -> tuple[list[float], list[float]]:
    """The smoothing factors and the step sizes of a grid."""
    smoothing, step_sizes = zip(*grid, strict=True)
    return sorted(set(smoothing)), sorted(set(step_sizes))


def draw_q(panel: Axes, study: Study, column: Column, name: str, colour: str) -> None:
    """Mean over runs, as far as all of them have come."""
    traces = [run.q for run in runs_of(study, column)]
    values = [[q for _, q in at_step] for at_step in zip(*traces, strict=False)]
    if values:
        steps = np.array([step for step, _ in traces[0][: len(values)]])
        draw_band(panel, steps, [summarise(v) for v in values], name, colour)


def draw_band(
    panel: Axes, steps: np.ndarray, values: list[Summary], name: str, colour: str
) -> None:
    """A line, and one standard error over runs around it."""
    mean = np.array([value.mean for value in values])
    error = np.nan_to_num([value.standard_error for value in values])
    panel.plot(steps, mean, color=colour, label=name)
    panel.fill_between(steps, mean - error, mean + error, alpha=0.2, color=colour)


def panels_of(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """A figure of so many panels."""
    return plt.subplots(
        rows,
        columns,
        figsize=(max(3.4 * columns, 6.0), 3.2 * rows),
        squeeze=False,
        layout="constrained",
    )


def save(figure: Figure, panels: np.ndarray, path: Path) -> None:
    """Grid, one legend for all panels, and the file."""
    entries = {}
    for panel in panels.flat:
        panel.grid(alpha=0.3)
        panel.locator_params(axis="x", nbins=5)
        handles, names = panel.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    if entries:
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=min(4, len(entries)),
        )
    figures.save(figure, path, dpi=120)
    plt.close(figure)
