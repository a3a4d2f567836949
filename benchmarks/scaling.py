"""Cost of an update against runs side by side, ensemble, width and devices.

    python -m benchmarks.scaling --out=benchmarks/results/scaling

The programs are those of RPEX's Table 1: pretraining of IQL and RIQL, and PEX on IQL
online, Hopper in MuJoCo's C library with an update a step. The programs of an axis are
timed in turn, round after round. Machines are noisy: quote what is relative, the median
over rounds of a program's cost over that of the axis' first in the same round.

It ends with what the whole of Table 1 would take at these rates. All is on one device,
on a CPU a thread pool of all cores, but for the axis of devices.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import flags, logging
from matplotlib.figure import Figure

from benchmarks import protocol_cost, reports, updates
from benchmarks.programs import (
    PROGRAMS,
    Point,
    config_of,
    timed_programs,
    training,
    work_of,
)
from benchmarks.timing import round_times
from experiments import study_cost, study_inputs
from experiments.command_line import OUT, cache_compilations, refuse_arguments, run
from experiments.folders import provenance
from experiments.reports import figures
from experiments.settings import ConfigError
from rpex_jax import results

UPDATES = 32  # of every run in a timing, so that all enter a chunk equally often
MARGIN = 0.1  # costs that differ by less are called alike

_RUNS = flags.DEFINE_list("runs", ["1", "4", "16", "64", "256"], "Runs side by side.")
_CRITICS = flags.DEFINE_list("critics", ["2", "5", "10", "20"], "Of RIQL's ensemble.")
_WIDTHS = flags.DEFINE_list(
    "widths", ["64", "128", "256", "512", "1024"], "Of both hidden layers."
)
_DEVICES = flags.DEFINE_list(
    "devices", [], "That share 16 runs, on a CPU a core each; empty: one, and all."
)
_SECONDS = flags.DEFINE_float(
    "seconds", 120.0, "An axis: no round begins after so many; there are two.", 0.0
)


class Plateau(NamedTuple):
    """Numbers of runs whose cost, a run, is within a margin of the lowest."""

    first: int  # fewer cost more
    last: int  # more cost more, where more were measured


def main(argv: list[str]) -> None:
    refuse_arguments(argv)
    logging.set_verbosity(logging.ERROR)
    programs = timed_programs()
    lists = (_RUNS, _CRITICS, _WIDTHS)
    runs, critics, widths = (numbers(f"--{x.name}", x.value) for x in lists)
    devices = devices_of(_DEVICES.value)
    cache_compilations()
    made_with = provenance("benchmarks.scaling")
    rows = []
    for axis, points in axes_of(programs, runs, critics, widths, devices):
        print(f"{points[0].program} by {axis}", file=sys.stderr)
        rows += [{"axis": axis} | row for row in measure(points, _SECONDS.value)]
    reports.write(made_with, f"{report(rows)}\n\n{study_hours(rows)}", rows)
    if OUT.value:
        draw(rows, Path(OUT.value).with_suffix(".png"))


def numbers(flag: str, texts: list[str]) -> list[int]:
    """Positive whole numbers in growing order.

    Raises:
      ConfigError: something else.
    """
    if not texts or not all(text.isdecimal() and int(text) for text in texts):
        raise ConfigError(
            f"{flag} is {','.join(texts)!r}; it must be positive whole numbers, as 1,4"
        )
    return sorted(set(map(int, texts)))


def devices_of(texts: list[str]) -> list[int]:
    """As `numbers`; of none, one and all that there are.

    Raises:
      ConfigError: more than there are.
    """
    there = jax.local_device_count()
    devices = numbers("--devices", texts or ["1", f"{there}"])
    if devices[-1] > there:
        raise ConfigError(f"--devices is {','.join(texts)}; this machine has {there}")
    return devices


def axes_of(
    programs: list[str],
    runs: list[int],
    critics: list[int],
    widths: list[int],
    devices: list[int],
) -> list[tuple[str, list[Point]]]:
    """The axes by name; in each but the first, as many runs as fill the device."""
    few = 1 if jax.default_backend() == "cpu" else 16
    axes = []
    for name in programs:
        own = PROGRAMS[name].critics
        axes.append(("runs", [Point(name, n, own, 256) for n in runs]))
        if name == "riql":
            axes.append(("critics", [Point(name, few, k, 256) for k in critics]))
        if PROGRAMS[name].phase == "offline":
            axes.append(("width", [Point(name, few, own, w) for w in widths]))
        if len(devices) > 1:
            axes.append(("devices", [Point(name, 16, own, 256, n) for n in devices]))
    return axes


def measure(points: list[Point], seconds: float) -> list[dict]:
    """Costs of all points, in turn with each other and with a matrix product.

    Returns:
      Rows with the point's fields, `gflop_per_update`, and of an update of one run
      `best_s`, `median_s`, `rounds_s` and `relative`, to the first point; and
      `share_of_matmul`, how near it comes to the machine's float32 products.
    """
    env = study_inputs.make_env(config_of(points[0]))
    data = study_cost.random_data(env.spec)
    functions = [updates.matmul()]
    functions += [training(point, env, data, UPDATES) for point in points]
    times = round_times(functions, seconds)
    counts = [UPDATES * point.runs for point in points]
    peaks, costs = 2 * updates.MATMUL_SIZE**3 / times[:, 0], times[:, 1:] / counts
    relative = np.median(costs / costs[:, :1], axis=0)
    rows = []
    for i, point in enumerate(points):
        flops = work_of(point, env).flops
        rows.append(
            point._asdict()
            | {
                "gflop_per_update": flops / 1e9,
                "best_s": costs[:, i].min(),
                "median_s": np.median(costs[:, i]),
                "relative": relative[i],
                "share_of_matmul": np.median(flops / costs[:, i] / peaks),
                "rounds_s": costs[:, i].tolist(),
            }
        )
    return rows


def plateau(costs: dict[int, float], margin: float = MARGIN) -> Plateau:
    """Where the cost of a run has stopped to fall and has not begun to rise.

    Args:
      costs: of one run, by number of runs.
      margin: costs so far above the lowest count as the lowest.
    """
    counts = sorted(costs)
    limit = (1 + margin) * min(costs.values())
    first = last = counts.index(min(costs, key=costs.get))
    while first > 0 and costs[counts[first - 1]] <= limit:
        first -= 1
    while last + 1 < len(counts) and costs[counts[last + 1]] <= limit:
        last += 1
    return Plateau(counts[first], counts[last])


def by_runs(rows: list[dict], name: str) -> dict[str, dict[int, float]]:
    """A column against the number of runs, by program."""
    curves: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["axis"] == "runs":
            curves.setdefault(row["program"], {})[row["runs"]] = row[name]
    return curves


def report(rows: list[dict]) -> str:
    """All costs, and how many runs side by side are cheapest, in Markdown."""
    header = [
        "program",
        "runs",
        "critics",
        "width",
        "devices",
        "updates/s",
        "ms, an update of one",
    ]
    header += ["median", "relative", "share of matmul rate"]
    table = results.markdown_table(
        header,
        [
            [
                row["program"],
                *(f"{row[name]}" for name in Point._fields[1:]),
                f"{1 / row['best_s']:.0f}",
                f"{1e3 * row['best_s']:.2f}",
                f"{1e3 * row['median_s']:.2f}",
                f"{row['relative']:.2f}",
                f"{row['share_of_matmul']:.0%}",
            ]
            for row in rows
        ],
    )
    notes = []
    for program, costs in by_runs(rows, "relative").items():
        first, last = plateau(costs)
        notes.append(
            f"{program}: a run costs least, within {MARGIN:.0%}, with {first} to "
            f"{last} side by side; {min(costs)} to {max(costs)} were timed."
        )
    return "\n\n".join([table, "  \n".join(notes)])


def rates(rows: list[dict]) -> dict[str, float]:
    """Operations a second by phase: of the program with the most, at its cheapest.

    A phase that was not timed has the other's.
    """
    found: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row["axis"] in ("runs", "devices"):
            flops = 1e9 * row["gflop_per_update"]
            phase = PROGRAMS[row["program"]].phase
            one = (flops, flops / row["best_s"])
            found[phase] = max(one, found.get(phase, one))
    of_any = next(iter(found.values()))
    return {phase: found.get(phase, of_any)[1] for phase in ("offline", "online")}


def study_hours(rows: list[dict]) -> str:
    """What the whole of Table 1 takes at these rates, in Markdown."""
    items, evaluated, env = protocol_cost.protocol()
    steps_per_s = study_cost.steps_per_second(env)
    return protocol_cost.arithmetic(items, rates(rows), evaluated, steps_per_s)


def draw(rows: list[dict], path: Path) -> None:
    """Cost of a run against the number of runs, which is logarithmic, as a PNG file."""
    figure = Figure((4.5, 3.4), layout="constrained")
    axes = figure.subplots()
    curves = by_runs(rows, "median_s")
    for program, costs in curves.items():
        milliseconds = [1e3 * x for x in costs.values()]
        axes.semilogx(list(costs), milliseconds, "o-", base=2, label=program)
    counts = list(next(iter(curves.values())))  # of all programs
    axes.set_xticks(counts, list(map(str, counts)))
    axes.minorticks_off()
    axes.set(xlabel="runs side by side", ylabel="ms an update of one run")
    axes.set_ylim(0)
    axes.grid(alpha=0.3)
    axes.legend()
    figures.save(figure, path, dpi=150)


if __name__ == "__main__":
    run(main)
