"""The tables and figures of adversarial fine-tuning, and what became of its claims.

`experiments.report` comes here with the folder of a study whose config names one, or
with a folder of such folders, one for each environment.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import folders
from experiments.configs.adversarial.common import TASKS
from experiments.reports import adversarial_columns as columns
from experiments.reports import adversarial_plots as plots
from experiments.reports.claims import CLAIMS, judge, task_of
from experiments.reports.document import (
    Block,
    Bullets,
    Figure,
    Heading,
    Table,
    sentence,
    to_html,
    to_markdown,
)
from experiments.settings import ConfigError
from experiments.study_results import (
    Column,
    Sample,
    Study,
    mean_q,
    read,
    runs_of,
    sample,
    target_step,
)
from rpex_jax import results


class Part(NamedTuple):
    """A table or figure of the paper."""

    title: str
    columns: Sequence[Column] = ()  # of its table
    lines: Sequence[Column] = ()  # of its learning curves, and of q
    claims: Sequence[str] = ()


_TABLE_1 = (
    columns.OFFLINE,
    columns.FULLY_ONLINE,
    columns.NORMAL,
    columns.RANDOM,
    columns.ADVERSARIAL,
)
_CURRICULA = (columns.LINEAR, columns.ADAPTIVE)
_FIXED = columns.ADVERSARIAL._replace(name="fixed")
_STATIC = columns.ADAPTIVE._replace(name="static set, adaptive")

PARTS = {
    "table1": Part(
        "Table 1: what to fine-tune under",
        columns=_TABLE_1,
        lines=_TABLE_1,
        claims=("R1", "R2", "R3", "R4", "R5", "R6"),
    ),
    "table2": Part(
        "Table 2: how often to perturb",
        columns=(
            columns.at_third(_FIXED, 1),
            *columns.thirds(*_CURRICULA),
        ),
        lines=(_FIXED, *_CURRICULA),
        claims=("R7", "R8"),
    ),
    "table3": Part(
        "Table 3: IQL, then SAC",
        columns=(columns.OFFLINE, *columns.thirds(columns.SAC)),
        lines=(columns.OFFLINE, columns.SAC),
        claims=("R1", "R11"),
    ),
    "table4": Part(
        "Table 4: a static attack set against PGD at every step",
        columns=(columns.OFFLINE, *columns.thirds(_STATIC, columns.PGD)),
        lines=(columns.OFFLINE, _STATIC, columns.PGD),
        claims=("R1", "R12"),
    ),
    "figure4": Part(
        "Figure 4: learning curves",
        columns=_TABLE_1,
        lines=_TABLE_1,
        claims=("R6",),
    ),
    "figure5": Part(
        "Figure 5: linear and adaptive curriculum",
        columns=columns.thirds(*_CURRICULA),
        lines=_CURRICULA,
        claims=("R8",),
    ),
    "figure6": Part(
        "Figure 6: where the linear curriculum ends",
        columns=tuple(columns.Q_MAX.values()),
        lines=tuple(columns.Q_MAX.values()),
    ),
    "figure7": Part("Figure 7: q of the adaptive curriculum"),
    "figure8": Part("Figures 7 and 8: smoothing factor and step size"),
    "figure9": Part(
        "Figure 9: share of the data set in the replay",
        columns=tuple(columns.SHARES.values()),
        lines=tuple(columns.SHARES.values()),
        claims=("R9",),
    ),
    "figure10": Part(
        "Figure 10: the cloning term online",
        columns=tuple(columns.BC.values()),
        lines=tuple(columns.BC.values()),
        claims=("R10",),
    ),
}
DRAWN = {name: (name,) for name in PARTS} | {"tables": ("table1", "table2")}


def write(folder: Path) -> str:
    """Writes `report.html`, `report.md` and plots; returns the text and the path.

    Raises:
      ConfigError: there is no such study, or none that the report knows.
    """
    studies = [read(path) for path in study_folders(folder)]
    tasks = list(TASKS)  # in the paper's order, others after them
    studies.sort(key=lambda study: [*tasks, task_of(study)].index(task_of(study)))
    by_name: dict[str, list[Study]] = {}
    for study in studies:
        by_name.setdefault(study.config["study"], []).append(study)
    title = "Adversarial fine-tuning"
    blocks: list[Block] = [Heading(title, level=1), Bullets(list(map(budget, studies)))]
    for study_name, of_name in by_name.items():
        for name in DRAWN[study_name]:
            blocks += section(name, of_name, folder)
    text = to_markdown(blocks, folder)
    results.write_atomically(folder / "report.md", text)
    results.write_atomically(folder / "report.html", to_html(title, blocks))
    return f"{text}\nreport: {folder / 'report.html'}"


def study_folders(folder: Path) -> list[Path]:
    """The folder itself, or those in it, whose config names a table or figure.

    Raises:
      ConfigError: there is none, or its config names what there is not.
    """
    found = [folder] if (folder / "config.json").exists() else []
    found = found or sorted(path.parent for path in folder.glob("*/config.json"))
    if not found:
        raise ConfigError(
            f"{folder} is no results folder: it has no config.json, and no folder in "
            "it has one"
        )
    for path in found:
        name = folders.read_json(path / "config.json").get("study", "")
        if name not in DRAWN:
            raise ConfigError(
                f"study in {path / 'config.json'} is {name!r}; folders that are "
                f"reported together must have one of {', '.join(DRAWN)}"
            )
    return found


def budget(study: Study) -> str:
    """A sentence on what was spent."""
    config = study.config
    offline, online = config["offline"], config["online"]
    base = config["sweep"]["base"][0]
    width = config["agent"][base]["hidden_dims"][0]
    note = f" {sentence(config['note'])}" if config["note"] else ""
    return (
        f"{study.env} from {config['data']['source']}: {base}, width {width}, "
        f"{offline['steps']:,} offline updates in batches of {offline['batch_size']}, "
        f"{online['steps']:,} steps online where a column says no other number, "
        f"{len(config['sweep']['seed'])} runs, "
        f"{config['evaluation']['episodes']} episodes per condition; bound "
        f"{config['perturbation']['bound']:g}, share of the data in the replay "
        f"{online['prefill']:g}.{note}"
    )


def section(name: str, studies: Sequence[Study], folder: Path) -> list[Block]:
    """A table or figure, its plots and its claims."""
    part = PARTS[name]
    conditions = studies[0].config["evaluation"]["conditions"]
    blocks: list[Block] = [Heading(part.title)]
    if part.columns:
        blocks += [score_table(studies, part.columns), CAPTION]
    images: list[Figure] = []

    def image(kind: str) -> Path:
        images.append(Figure(f"{name}, {kind}", folder / f"{name}-{kind}.png"))
        return images[-1].file

    if part.lines:
        plots.plot_curves(studies, part.lines, conditions, image("curves"))
    scheduled = [
        column
        for column in part.lines
        if column.settings.get("curriculum.kind") in ("linear", "adaptive")
    ]
    if scheduled:
        blocks.append(exposure(studies, scheduled))
        plots.plot_q(studies, part.lines, image("q"))
    if name == "figure6":
        path = image("scores")
        plots.plot_against(studies, columns.Q_MAX, "q_max", conditions, path)
    if name in ("figure7", "figure8"):
        plots.plot_q_grid(studies, columns.GRID, image("q"))
    if name == "figure8":
        blocks.append(grid_table(studies, conditions))
        plots.plot_heatmaps(studies, columns.GRID, conditions, image("scores"))
    if part.claims:
        blocks += [claims_table(studies, part.claims), CLEARLY]
    return [*blocks, *images]


CAPTION = (
    "D4RL score: mean ± standard error over the pooled episodes of all runs, as the "
    "paper has it, / standard error over runs."
)
CLEARLY = (
    "*Clearly* is by more than two standard errors over runs, of the difference of "
    "independent means. Means stand with standard errors over runs."
)


def score_table(studies: Sequence[Study], of_table: Sequence[Column]) -> Table:
    """Rows: environments x conditions; both standard errors in each cell."""
    header = ["environment", "condition", *(column.name for column in of_table)]
    rows = []
    for study in studies:
        steps = [steps_online(study, column) for column in of_table]
        rows.append([study.env, "(steps online)", *steps])
        for condition in study.config["evaluation"]["conditions"]:
            cells = [cell(sample(study, column, condition)) for column in of_table]
            rows.append([study.env, condition, *cells])
    return Table(header, rows)


def steps_online(study: Study, column: Column) -> str:
    """Where a column looks at its runs, warm-up included."""
    if column.pretrained:
        return "0"
    steps = {target_step(study, column, run) for run in runs_of(study, column)}
    return ", ".join(f"{step:,}" for step in sorted(steps)) or "-"


def cell(found: Sample | None) -> str:
    """'97.5 ± 0.8 / 1.9', and of how many runs if some are missing."""
    if found is None:
        return "-"
    over_runs = found.summary
    error = f"{over_runs.standard_error:.1f}" if over_runs.count > 1 else "-"
    text = f"{over_runs.mean:.1f} ± {found.pooled_error:.1f} / {error}"
    if over_runs.count < found.expected:
        text += f" ({over_runs.count} of {found.expected} runs)"
    return text


def exposure(studies: Sequence[Study], scheduled: Sequence[Column]) -> Table:
    """Mean q over training: curricula are fair rivals where it is equal."""
    rows = []
    for study in studies:
        means = [mean_q(study, column) for column in scheduled]
        cells = [f"{q:.3f}" if math.isfinite(q) else "-" for q in means]
        rows.append([study.env, *cells])
    header = ["mean q over training", *(column.name for column in scheduled)]
    return Table(header, rows)


def grid_table(studies: Sequence[Study], conditions: Sequence[str]) -> Table:
    """The pair with the best mean over the conditions, which the paper takes.

    One smoothing factor for all environments, and for each its own step size.
    """
    smoothing, step_sizes = plots.axes_of(columns.GRID)
    maps = []  # per study: scores under each condition, and their mean
    for study in studies:
        of_conditions = [
            plots.grid_scores(study, columns.GRID, condition)
            for condition in conditions
        ]
        maps.append([*of_conditions, np.mean(of_conditions, axis=0)])
    means = np.nan_to_num([of_study[-1] for of_study in maps], nan=-np.inf)
    begun = means.max((1, 2)) > -np.inf
    i = np.argmax(means[begun].max(2).sum(0))
    rows = []
    for study, of_study, mean in zip(studies, maps, means, strict=True):
        j = np.argmax(mean[i])
        if mean[i, j] == -np.inf:
            rows.append([study.env, *["-"] * (len(conditions) + 3)])
            continue
        rows.append(
            [study.env, f"{smoothing[i]:g}", f"{step_sizes[j]:g}"]
            + [f"{values[i, j]:.1f}" for values in of_study]
        )
    header = ["best pair", "smoothing factor", "step size", *conditions, "mean"]
    return Table(header, rows)


def claims_table(studies: Sequence[Study], names: Sequence[str]) -> Table:
    """A row a claim: what it says, its rule, and the verdict in each environment."""
    header = ["", "claim", "rule", *(study.env for study in studies)]
    rows = []
    for name in names:
        said, _, rule = CLAIMS[name].__doc__.partition("Rule:")
        texts = [" ".join(text.split()) for text in (said, rule)]
        texts[1] = texts[1][:1].upper() + texts[1][1:]
        verdicts = [str(judge(CLAIMS[name], study)) for study in studies]
        rows.append([name, *texts, *verdicts])
    return Table(header, rows)
