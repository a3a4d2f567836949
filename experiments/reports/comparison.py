"""The report of a comparison of methods: tables, learning curves, logged metrics."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from experiments import folders, measured
from experiments.reports import comparison_plots as plots
from experiments.reports import figures
from experiments.reports.comparison_results import (
    Curve,
    Progress,
    online_curves,
    pretraining_curves,
    progress,
)
from experiments.reports.document import (
    Block,
    Details,
    Figure,
    Heading,
    Table,
    sentence,
)
from rpex_jax import results
from rpex_jax.comparison import (
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)
from rpex_jax.data import scores

# A method: the next simpler one, which it must beat. Others must beat `direct`.
SIMPLER = {
    "scratch": "offline",
    "direct": "offline",
    "buffer": "scratch",
    "pex": "direct",
    "rpex": "pex",
    "rpex-released": "pex",
}
STATISTICS = (
    "IQM is the interquartile mean: of all seeds and corruptions, without the lowest "
    "and the highest quarter. P is the probability that a run of the method ends above "
    "one of the other method under the same corruption, 0.5 for equals. In brackets "
    "are 95 % intervals: percentiles of a bootstrap that redraws the seeds within each "
    "corruption. With few seeds they are too narrow; they do not cover other "
    "environments or data."
)


def blocks(folder: Path, config: dict) -> tuple[list[Block], list[Block]]:
    """The report, and what the page has besides; draws the figures.

    Returns:
      blocks: title, note, tables and curves.
      further: bars, pretraining, logged metrics, config and versions.
    """
    rows = folders.read_rows(folder)
    curves = online_curves(config, rows)
    unit = "D4RL score" if scores.has_reference(config["env"]) else "return"
    report = introduction(config, progress(config, rows), unit)
    report += failed(rows)
    of_bases = {
        base: {method: runs for (b, method), runs in curves.items() if b == base}
        for base in config["sweep"]["base"]
    }
    of_bases = {base: methods for base, methods in of_bases.items() if methods}
    corruptions = config["sweep"]["corruption"]
    report += [comparison_table(b, m, corruptions) for b, m in of_bases.items()]
    further: list[Block] = []
    if of_bases:
        report += [Heading("Over all corruptions"), STATISTICS]
        report += [statistics_table(base, m) for base, m in of_bases.items()]
        report.append(Heading("Learning curves"))
        further.append(Heading("Final scores"))
    for base, methods in of_bases.items():
        report += learning_curves(base, methods, corruptions, unit, folder / "figures")
        further.append(bars(base, methods, corruptions, unit, folder / "figures"))
    further += logged(of_bases, corruptions, folder / "figures")
    further += pretraining(config, rows, unit, folder / "figures")
    further += policies(folder / "measures")
    return report, [*further, *provenance(folder, config)]


def introduction(config: dict, done: Progress, unit: str) -> list[Block]:
    """What was compared, with which budget, and how much of it is done."""
    note = config["note"]
    seeds, episodes = len(config["sweep"]["seed"]), config["evaluation"]["episodes"]
    text = [Heading(f"{config['env']} from {config['data']['source']}", level=1)]
    if note:
        text.append(sentence(note))
    if done.finished < done.expected:
        text.append(
            f"**Not finished:** {done.finished} of {done.expected} online runs are at "
            f"their end, {done.share:.0%} of all online steps are done; pretraining is "
            f"at {done.offline:,} of {config['offline']['steps']:,} updates. Numbers "
            "are of the evaluations so far."
        )
    text.append(
        f"{unit}: mean ± standard error over {seeds} seeds, offline -> after online "
        "training. Offline is the pretrained policy; online is the mean of a run's "
        f"last three evaluations of {episodes} episodes. Budget: "
        f"{config['offline']['steps']:,} offline updates and "
        f"{config['online']['steps']:,} online steps a run."
    )
    if (seed := config["offline"].get("seed", -1)) >= 0:
        text.append(
            f"All seeds start from one pretraining, of seed {seed}: errors and "
            "intervals leave out what another would change."
        )
    return text


def failed(rows: list[dict]) -> list[Block]:
    """How many runs have numbers that are not finite, and why."""
    causes = [row["failed"] for row in rows if "failed" in row]
    if not causes:
        return []
    return [f"**Failed:** {len(causes)} runs; the first: {causes[0]}."]


def comparison_table(
    base: str, methods: dict[str, list[Curve]], corruptions: Sequence[str]
) -> Table:
    """Methods x corruptions, and the average of a method that has been everywhere."""
    rows = []
    for method, runs in methods.items():
        finals = {
            corruption: [
                (run.offline, results.final_score(run.points))
                for run in runs
                if run.corruption == corruption
            ]
            for corruption in corruptions
        }
        average = "-"
        if all(finals.values()):
            means = [np.mean(pairs, axis=0) for pairs in finals.values()]
            before, after = np.mean(means, axis=0)
            average = f"{before:.1f} -> {after:.1f}"
        rows.append([method, *map(cell, finals.values()), average])
    return Table([base, *corruptions, "average"], rows)


def cell(pairs: list[tuple[float, float]]) -> str:
    """'offline -> online ± SE' of one method under one corruption, over seeds."""
    if not pairs:
        return "-"
    before, after = zip(*pairs, strict=True)
    summary = results.summarise(after)
    return f"{np.mean(before):.1f} -> {summary.mean:.1f} ± {summary.standard_error:.1f}"


def statistics_table(base: str, methods: dict[str, list[Curve]]) -> Table:
    """A row a method: its interquartile mean, and whether it beats a simpler one."""
    finals = {method: final_scores(runs) for method, runs in methods.items()}
    rows = []
    for method, tasks in finals.items():
        low, high = stratified_bootstrap(interquartile_mean, tasks)
        iqm = f"{interquartile_mean(tasks):.1f} [{low:.1f}, {high:.1f}]"
        runs = str(sum(map(len, tasks.values())))
        rows.append([method, runs, iqm, *improvement(method, finals)])
    return Table([base, "runs", "IQM", "over", "P"], rows)


def improvement(method: str, finals: dict[str, dict[str, list[float]]]) -> list[str]:
    """The next simpler method, and how likely a run of this one beats one of it."""
    other = next_simpler(method, finals)
    shared = finals[method].keys() & finals.get(other, {}).keys()
    if not shared:
        return ["-", "-"]
    x, y = (
        {task: runs for task, runs in finals[name].items() if task in shared}
        for name in (method, other)
    )
    low, high = stratified_bootstrap(probability_of_improvement, x, y)
    return [other, f"{probability_of_improvement(x, y):.2f} [{low:.2f}, {high:.2f}]"]


def next_simpler(method: str, names: Sequence[str]) -> str:
    """The simplest step down that there is, on the same further axes; or nothing."""
    kind, space, axes = method.partition(" ")
    while kind != "offline":
        kind = SIMPLER.get(kind, "direct")
        name = kind if kind == "offline" else f"{kind}{space}{axes}"
        if name in names:
            return name
    return ""


def final_scores(runs: list[Curve]) -> dict[str, list[float]]:
    """Corruption: the final scores of its runs."""
    tasks: dict[str, list[float]] = {}
    for run in runs:
        tasks.setdefault(run.corruption, []).append(results.final_score(run.points))
    return tasks


def learning_curves(
    base: str,
    methods: dict[str, list[Curve]],
    corruptions: Sequence[str],
    unit: str,
    folder: Path,
) -> list[Figure]:
    """Scores under each corruption, and the interquartile mean over all."""
    lines = plots.lines_of(methods)
    legend = {name: line.colour for name, line in lines.items()}
    score = partial(plots.draw_scores, unit=unit)
    return [
        figures.draw(
            folder / f"curves-{base}",
            f"{base}: mean over seeds, band of one standard error",
            plots.of_corruptions(score, lines, corruptions),
            legend,
        ),
        figures.draw(
            folder / f"iqm-{base}",
            f"{base}: interquartile mean over seeds and corruptions, band of its 95 % "
            "interval",
            {
                "all corruptions": lambda panel: plots.draw_interquartile_mean(
                    panel, lines, unit
                )
            },
            legend,
        ),
    ]


def bars(
    base: str,
    methods: dict[str, list[Curve]],
    corruptions: Sequence[str],
    unit: str,
    folder: Path,
) -> Figure:
    """A bar a method and corruption."""
    draw = partial(plots.draw_bars, unit=unit)
    return figures.draw(
        folder / f"final-{base}",
        f"{base}: mean of the last three evaluations over seeds, with one standard "
        "error; dots are seeds, the grey stroke is the pretrained policy",
        plots.of_corruptions(draw, plots.lines_of(methods), corruptions),
        legend={},
    )


def logged(
    of_bases: dict[str, dict[str, list[Curve]]],
    corruptions: Sequence[str],
    folder: Path,
) -> list[Block]:
    """What the runs of each base logged, a plot a metric."""
    found: list[Block] = []
    for base, methods in of_bases.items():
        lines = plots.lines_of(methods)
        names = sorted(
            {n for runs in methods.values() for r in runs for n in r.metrics}
        )
        for name in names:
            having = {
                method: line
                for method, line in lines.items()
                if any(name in run.metrics for run in line.runs)
            }
            figure = figures.draw(
                folder / f"{name.replace('/', '-')}-{base}",
                f"{base}: mean over seeds, band of one standard error",
                plots.of_corruptions(
                    partial(plots.draw_metric, name=name), having, corruptions
                ),
                {method: line.colour for method, line in having.items()},
            )
            found.append(Details(f"{name}, {base}", [figure]))
    return [Heading("Logged while training"), *found] if found else []


def pretraining(config: dict, rows: list[dict], unit: str, folder: Path) -> list[Block]:
    """How the policies that all methods start from were learned."""
    of_bases = {base: r for (base, _), r in pretraining_curves(config, rows).items()}
    if not of_bases:
        return []
    lines = plots.lines_of(of_bases)
    figure = figures.draw(
        folder / "pretraining",
        "Mean over seeds, band of one standard error",
        plots.of_corruptions(
            partial(plots.draw_pretraining, unit=unit),
            lines,
            config["sweep"]["corruption"],
        ),
        {base: line.colour for base, line in lines.items()},
    )
    return [Heading("Pretraining"), figure]


def policies(folder: Path) -> list[Block]:
    """What `experiments.measure` found of them, if it was run."""
    runs = measured.read(folder)
    if not runs:
        return []
    caption = "Actions at the data's states, each dimension, all seeds: grey before"
    return [
        Heading("Policies"),
        Table(*measured.table(runs)),
        measured.ABOUT,
        Figure(f"{caption}, red after online training", folder / "actions.png"),
    ]


def provenance(folder: Path, config: dict) -> list[Block]:
    """Command, versions and every setting."""
    found: list[Block] = [Heading("How it was made")]
    file = folder / "versions.json"
    if file.exists():
        versions = folders.read_json(file)
        if command := versions.pop("command", ""):
            found.append(Details("Command", command))
        rows = [[name, str(value)] for name, value in versions.items()]
        found.append(Details("Versions", [Table(["", "version"], rows)]))
    text = json.dumps(config, indent=1, sort_keys=True)
    return [*found, Details("Config", text)]
