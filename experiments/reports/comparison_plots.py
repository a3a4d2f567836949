"""Plots of a comparison: a panel a corruption, a line or a bar a method."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from experiments.reports.comparison_results import Curve
from rpex_jax.comparison import interquartile_mean, stratified_bootstrap
from rpex_jax.results import final_score, summarise

# Okabe and Ito's colours, which the colour-blind tell apart, on light and dark paper.
COLOURS = {
    "offline": "#8c8c8c",
    "scratch": "#cc79a7",
    "buffer": "#009e73",
    "direct": "#e69f00",
    "pex": "#0072b2",
    "rpex": "#d55e00",
    "rpex-released": "#56b4e9",
}
OTHERS = ("#7f5fc4", "#b8a900", "#5f9ea0", "#a0522d")
RESAMPLES = 2_000  # of intervals along curves


class Line(NamedTuple):
    """The runs of one method."""

    colour: str
    runs: list[Curve]


Lines = dict[str, Line]  # by method


def lines_of(methods: dict[str, list[Curve]]) -> Lines:
    """A colour a method: its own, unless a further axis makes several of its kind."""
    kinds = [name.split()[0] for name in methods]
    own = {
        name: COLOURS[kind]
        for name, kind in zip(methods, kinds, strict=True)
        if kind in COLOURS and kinds.count(kind) == 1
    }
    free = [c for c in (*OTHERS, *COLOURS.values()) if c not in own.values()]
    others = [name for name in methods if name not in own]
    colours = {name: free[i % len(free)] for i, name in enumerate(others)} | own
    return {name: Line(colours[name], runs) for name, runs in methods.items()}


def of_corruptions(
    draw: Callable[[Axes, Lines], None], lines: Lines, corruptions: Iterable[str]
) -> dict[str, Callable[[Axes], None]]:
    """The panels of one plot: corruption -> what draws its runs."""

    def panel(corruption: str) -> Callable[[Axes], None]:
        of_panel = {
            name: line._replace(
                runs=[run for run in line.runs if run.corruption == corruption]
            )
            for name, line in lines.items()
        }
        return lambda axes: draw(axes, of_panel)

    return {corruption: panel(corruption) for corruption in corruptions}


def draw_scores(panel: Axes, lines: Lines, unit: str) -> None:
    """Scores online, from the pretrained policy's on."""
    for name, line in lines.items():
        traces = [[(0, run.offline), *run.points] for run in line.runs]
        draw_mean(panel, traces, line.colour, dashed=name.split()[0] == "offline")
    panel.set(xlabel="online steps", ylabel=unit)


def draw_pretraining(panel: Axes, lines: Lines, unit: str) -> None:
    """Scores offline, from the first evaluation on."""
    for line in lines.values():
        draw_mean(panel, [run.points for run in line.runs], line.colour)
    panel.set(xlabel="updates", ylabel=unit)


def draw_metric(panel: Axes, lines: Lines, name: str) -> None:
    """A metric that runs log while they learn online."""
    for line in lines.values():
        traces = [run.metrics[name] for run in line.runs if name in run.metrics]
        draw_mean(panel, traces, line.colour)
    panel.set(xlabel="online steps", ylabel=name)


def draw_mean(
    panel: Axes,
    traces: list[list[tuple[int, float]]],
    colour: str,
    *,
    dashed: bool = False,
) -> None:
    """Mean over runs, and a band of one standard error."""
    steps, values = at_common_steps(traces)
    summaries = [summarise(of_step) for of_step in values]
    mean = np.array([summary.mean for summary in summaries])
    error = np.nan_to_num([summary.standard_error for summary in summaries])
    draw_band(panel, steps, mean, mean - error, mean + error, colour, dashed=dashed)


def draw_interquartile_mean(panel: Axes, lines: Lines, unit: str) -> None:
    """The interquartile mean over all corruptions, and its 95 % bootstrap interval."""
    for name, line in lines.items():
        traces = [[(0, run.offline), *run.points] for run in line.runs]
        steps, values = at_common_steps(traces)
        centre, intervals = [], []
        for of_step in values:
            tasks: dict[str, list[float]] = {}
            for run, score in zip(line.runs, of_step, strict=True):
                tasks.setdefault(run.corruption, []).append(score)
            centre.append(interquartile_mean(tasks))
            intervals.append(
                stratified_bootstrap(interquartile_mean, tasks, resamples=RESAMPLES)
            )
        low, high = np.reshape(intervals, (-1, 2)).T
        dashed = name.split()[0] == "offline"
        draw_band(panel, steps, centre, low, high, line.colour, dashed=dashed)
    panel.set(xlabel="online steps", ylabel=unit)


def draw_band(
    panel: Axes,
    steps: list[int],
    centre: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    colour: str,
    *,
    dashed: bool,
) -> None:
    """A line and the band around it; one step alone is a point."""
    style, mark = "--" if dashed else "-", "." if len(steps) == 1 else ""
    panel.plot(steps, centre, color=colour, linestyle=style, marker=mark)
    panel.fill_between(steps, low, high, alpha=0.2, color=colour, linewidth=0)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))  # 250k, 1M


def draw_bars(panel: Axes, lines: Lines, unit: str) -> None:
    """Final scores: a bar the mean, a dot a seed, a stroke what pretraining reached."""
    for place, line in enumerate(lines.values()):
        if line.runs:
            finals = [final_score(run.points) for run in line.runs]
            summary = summarise(finals)
            error = np.nan_to_num(summary.standard_error)
            panel.barh(place, summary.mean, color=line.colour, alpha=0.4)
            panel.errorbar(summary.mean, place, xerr=error, color=line.colour)
            panel.plot(finals, [place] * len(finals), ".", color=line.colour)
            offline = np.mean([run.offline for run in line.runs])
            panel.plot([offline] * 2, [place - 0.4, place + 0.4], color="#8c8c8c")
    panel.set(xlabel=unit, yticks=range(len(lines)), yticklabels=lines)
    panel.set_ylim(len(lines) - 0.5, -0.5)


def at_common_steps(
    traces: list[list[tuple[int, float]]],
) -> tuple[list[int], list[list[float]]]:
    """Steps that all runs have, and the values there, [steps][runs].

    The runs of an unfinished study may differ in length.
    """
    by_step = [dict(trace) for trace in traces]
    steps = sorted(set.intersection(*map(set, by_step))) if by_step else []
    return steps, [[values[step] for values in by_step] for step in steps]
