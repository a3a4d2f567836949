"""The figure of the grid world: the data, and what is selected after learning on it."""

from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from experiments.reports import figures
from rpex_jax.envs import gridworld
from rpex_jax.envs.gridworld import DIRECTIONS, Grid
from rpex_jax.types import Transition


class Panel(NamedTuple):
    """What is selected after one kind of learning."""

    title: str
    cells: np.ndarray  # centres, [n, 2]
    probabilities: np.ndarray  # of the directions, mean over seeds, [n, 8]
    paths: np.ndarray  # most probable, [seeds, moves + 1, 2]


def plot(grid: Grid, data: Transition, panels: list[Panel], path: Path) -> None:
    """The data in the first panel; then an arrow a direction, as long as likely.

    The most probable paths of all seeds are lines over them.
    """
    columns = len(panels) + 1
    figure, axes = plt.subplots(1, columns, figsize=(4.2 * columns, 4.6))
    starts, ends = np.asarray(data.observations), np.asarray(data.next_observations)
    axes[0].quiver(
        *starts.T, *(ends - starts).T, **_TO_SCALE, color="C0", alpha=0.25, width=0.002
    )
    axes[0].set_title(f"data of one seed: {len(starts)} moves")
    for panel, axis in zip(panels, axes[1:], strict=True):
        for k, direction in enumerate(DIRECTIONS):
            arrows = 0.75 * panel.probabilities[:, k, None] * direction
            axis.quiver(*panel.cells.T, *arrows.T, **_TO_SCALE, width=0.004)
        for positions in panel.paths:
            axis.plot(*positions.T, color="C3", alpha=0.45, linewidth=1.5)
        axis.set_title(panel.title)
    for axis in axes:
        draw_grid(grid, axis)
    figure.tight_layout()
    figures.save(figure, path, dpi=110)
    plt.close(figure)


_TO_SCALE = {"angles": "xy", "scale_units": "xy", "scale": 1.0}


def draw_grid(grid: Grid, axis: Axes) -> None:
    """Walls, start and goal."""
    for x, y in gridworld.centres(grid, "#"):
        axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color="0.5"))
    axis.plot(*gridworld.centres(grid, "S")[0], "o", color="C0", label="start")
    axis.plot(*gridworld.centres(grid, "G")[0], "*", color="C2", ms=14, label="goal")
    axis.set(
        xlim=(0, len(grid[0])),
        ylim=(0, len(grid)),
        aspect="equal",
        xticks=[],
        yticks=[],
    )
