"""Panels of a plot as PNG and PDF files for papers, and as SVG for a page."""

import io
import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.reports import document
from rpex_jax import results

SIZE = (3.4, 2.7)  # of a panel, inches
COLUMNS = 4  # of panels in a file
INK = "#010203"  # in an SVG, where the page's own text colour goes
_INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color")
STYLE = {name: INK for name in (*_INKED, "ytick.color", "grid.color")}
STYLE |= {"svg.fonttype": "none"}


def draw(
    path: Path,
    caption: str,
    panels: dict[str, Callable[[Axes], None]],
    legend: dict[str, str],
) -> document.Figure:
    """Writes `path`.png and .pdf, and returns the figure for reports.

    Args:
      path: of the files, without a suffix.
      caption: what is seen.
      panels: title: what draws the panel; they share their axes.
      legend: entry: colour.
    """
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    figure = Figure((SIZE[0] * columns, SIZE[1] * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for panel, (title, drawer) in zip(axes, panels.items(), strict=False):
        finish(panel, title, drawer)
        panel.label_outer()
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    if legend:
        handles = [
            Line2D([], [], color=colour, linewidth=3, label=entry)
            for entry, colour in legend.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    path.parent.mkdir(exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, for both files
    for suffix, metadata in {".png": {}, ".pdf": {"CreationDate": None}}.items():
        save(figure, path.with_suffix(suffix), dpi=150, metadata=metadata)
    limits = axes[0].get_xlim(), axes[0].get_ylim()
    pictures = [svg(title, drawer, limits) for title, drawer in panels.items()]
    return document.Figure(caption, path.with_suffix(".png"), pictures, legend)


def save(figure: Figure, path: Path, **settings: Any) -> None:
    """Writes a figure whole or not at all, in the format of the path's suffix."""
    with results.whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], **settings)


def svg(
    title: str,
    drawer: Callable[[Axes], None],
    limits: tuple[tuple[float, float], tuple[float, float]],
) -> str:
    """One panel, in the colours and the font of the page around it."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure = Figure(SIZE, layout="constrained")
        panel = figure.subplots()
        finish(panel, title, drawer)
        panel.set(xlim=limits[0], ylim=limits[1])
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    picture = text.getvalue()
    picture = picture[picture.index("<svg") :].replace(INK, "currentColor")
    # names of groups, which a page with many panels would have many times
    picture = re.sub(r' id="[^"]*_\d+"', "", picture)
    label = escape(title, quote=True)
    return picture.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def finish(panel: Axes, title: str, drawer: Callable[[Axes], None]) -> None:
    """Draws a panel with its title and grid."""
    drawer(panel)
    panel.set_title(title, parse_math=False)
    panel.grid(alpha=0.2)
    panel.locator_params(axis="x", nbins=5)
