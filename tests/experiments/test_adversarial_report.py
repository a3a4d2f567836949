"""The report of adversarial fine-tuning on recorded studies whose numbers are known."""

import base64
import html
import importlib
import re
import statistics

import numpy as np
import pytest

from experiments import report
from experiments.reports import adversarial_columns as columns
from experiments.reports.adversarial import DRAWN, PARTS, grid_table
from experiments.reports.claims import CLAIMS, judge
from experiments.settings import ConfigError
from experiments.study_results import curve, mean_q, read, sample
from rpex_jax import results
from tests.experiments.recorded import record


def smoke(name: str, env: str = "Hopper-v4"):
    module = importlib.import_module(f"experiments.configs.adversarial.{name}")
    return module.get_config(f"smoke,{env}")


def column_of(labels: dict):
    """What tells a run from the others of its study."""
    if "method" not in labels:
        return "offline"
    if labels["method"] == "scratch":
        return "scratch"
    if labels.get("curriculum.kind", "fixed") != "fixed":
        return labels["curriculum.kind"]
    for key in ("perturbation.kind", "online.prefill", "online.bc_weight"):
        if key in labels:
            return labels[key]
    return "only"


def scores(values: dict):
    """Scores by column and condition, numbers or functions of the share; else 50."""

    def score(labels, condition, share):
        value = values.get((column_of(labels), condition), 50.0)
        return value(share) if callable(value) else value

    return score


def table_of(text: str, title: str) -> list[list[str]]:
    """The cells of the first table after a title, header first."""
    lines = text[text.index(title) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return [table[0], *table[2:]]


def cells_of(text: str) -> set[str]:
    """Of all tables of a Markdown text."""
    lines = [x for x in text.splitlines() if x.startswith("| ") and "---" not in x]
    return {cell.strip() for line in lines for cell in line.strip("|").split("|")}


def is_png(path) -> bool:
    image = path.read_bytes()
    return image.startswith(b"\x89PNG") and len(image) > 5_000


# Numbers


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Tables 1 and 2 for two environments: the folder and its report."""
    folder = tmp_path_factory.mktemp("both")
    values = {
        ("offline", "normal"): 90.0,
        ("adversarial", "adversarial"): lambda share: 30 + 60 * share,
        ("adaptive", "normal"): lambda share: 40 + 9 * share,
    }
    for env in ("HalfCheetah-v4", "Hopper-v4"):
        record(folder / env, smoke("tables", env), scores(values), spread=2.0)
    report.write(folder)
    return folder, (folder / "report.md").read_text()


def test_a_cell_has_the_mean_and_both_standard_errors(both):
    """Against the standard library: 2 runs of 5 episodes, 2 apart."""
    _, text = both
    table = table_of(text, "## Table 1")
    runs = [[90 + 2 * seed + x for x in (-2, -1, 0, 1, 2)] for seed in (0, 1)]
    episodes = runs[0] + runs[1]
    pooled = statistics.stdev(episodes) / 10**0.5
    over_runs = statistics.stdev(map(statistics.mean, runs)) / 2**0.5
    mean = statistics.mean(episodes)
    expected = f"{mean:.1f} ± {pooled:.1f} / {over_runs:.1f}"
    assert expected == "91.0 ± 0.6 / 1.0"
    cells = {(row[0], row[1]): row[2:] for row in table[1:]}
    assert cells["Hopper-v4", "normal"][0] == expected
    assert cells["HalfCheetah-v4", "normal"][0] == expected


def test_rows_and_columns_of_tables_1_and_2(both):
    """In the paper's order; Table 2's fixed column is Table 1's adversarial one."""
    _, text = both
    table = table_of(text, "## Table 1")
    assert table[0] == [
        "environment",
        "condition",
        "offline",
        "fully online (adversarial)",
        "fine-tuned (normal)",
        "fine-tuned (random)",
        "fine-tuned (adversarial)",
    ]
    conditions = ["(steps online)", "normal", "random", "adversarial"]
    assert [row[:2] for row in table[1:]] == [
        [env, condition]
        for env in ("Hopper-v4", "HalfCheetah-v4")
        for condition in conditions
    ]
    assert table[1][2:] == ["0", "1,500", "1,500", "1,500", "1,500"]
    assert table[4][6].startswith("91.0 ")  # 30 + 60, and the seeds' mean of 1

    table = table_of(text, "## Table 2")
    curricula = [f"{name}, {n}/3" for name in ("linear", "adaptive") for n in (1, 2, 3)]
    assert table[0][2:] == ["fixed, 1/3", *curricula]
    assert table[1][2:] == ["500", *["500", "1,000", "1,500"] * 2]
    assert table[4][2].startswith("51.0 ")  # 30 + 60 / 3 + 1
    assert [cell.split()[0] for cell in table[2][6:]] == ["44.0", "47.0", "50.0"]


def test_exposure_and_budget_are_stated(both):
    _, text = both
    exposure = table_of(text, "| mean q over training")
    assert exposure[1] == ["Hopper-v4", "0.667", "0.667"]  # mean of 1/3, 2/3, 1
    assert "Hopper-v4 from hopper-medium-replay: td3, width 64" in text
    assert "2,000 offline updates" in text and "1,500 steps online" in text
    assert "Smoke-sized budget" in text


def test_the_page_has_every_cell_and_plot(both):
    """The same tables and claims as in Markdown, and the plots in the page itself."""
    folder, text = both
    page = (folder / "report.html").read_text()
    cells = {
        html.unescape(c) for c in re.findall(r"<t[dh](?: [^>]*)?>(.*?)</t[dh]>", page)
    }
    strong = {
        re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", c) for c in cells_of(text)
    }
    assert strong <= cells
    images = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    files = re.findall(r"!\[.*\]\((.*)\)", text)
    assert [base64.b64decode(i) for i in images] == [
        (folder / file).read_bytes() for file in files
    ]


def test_plots_are_drawn(both):
    folder, text = both
    for name in ("table1-curves", "table2-curves", "table2-q"):
        assert f"({name}.png)" in text
        assert is_png(folder / f"{name}.png")


def test_a_curve_and_q_are_means_over_runs(both):
    folder, _ = both
    study = read(folder / "Hopper-v4")
    steps, values = curve(study, columns.ADVERSARIAL, "adversarial")
    assert steps.tolist() == [500, 1000, 1500]
    np.testing.assert_allclose([v.mean for v in values], [51, 71, 91])
    np.testing.assert_allclose([v.standard_error for v in values], 1.0)
    assert mean_q(study, columns.ADVERSARIAL) == 0.5
    found = sample(study, columns.ADVERSARIAL, "adversarial")
    np.testing.assert_allclose(found.runs[0], [88, 89, 90, 91, 92])


@pytest.mark.parametrize(
    ("name", "plots"),
    [("figure6", {"curves", "q", "scores"}), ("figure8", {"q", "scores"})],
)
def test_figures_over_a_grid(name, plots, tmp_path):
    """Score against q_max; the best pair of smoothing factor and step size."""

    def score(labels, condition, share):
        if "method" not in labels:
            return 90.0
        best = labels.get("curriculum.smoothing") == 0.3
        best &= labels.get("curriculum.step_size") == 0.5
        return 70.0 + 5 * best + 10 * (condition == "normal")

    out = record(tmp_path / "out", smoke(name), score)
    text = report.write(out)
    for plot in plots:
        assert is_png(out / f"{name}-{plot}.png")
    if name == "figure6":
        table = table_of(text, "## Figure 6")
        assert table[0][2:] == [f"q_max {q}" for q in ("0.2", "0.4", "0.6", "0.8", "1")]
    else:
        best = table_of(text, "| best pair")
        # 85.5 under normal, 75.5 under random and adversarial
        assert best[1] == ["Hopper-v4", "0.3", "0.5", "85.5", "75.5", "75.5", "78.8"]


def test_all_environments_have_one_smoothing_factor(tmp_path):
    """The one with the best sum over environments; each has its own step size."""
    best = {  # of neither alone: 0.3
        "Hopper-v4": {(0.1, 1.0): 90, (0.3, 0.5): 85, (0.9, 0.5): 50},
        "HalfCheetah-v4": {(0.1, 1.0): 50, (0.3, 2.0): 85, (0.9, 0.5): 90},
    }
    for env, values in best.items():

        def score(labels, condition, share, values=values):
            keys = ("curriculum.smoothing", "curriculum.step_size")
            return values.get(tuple(labels.get(key) for key in keys), 40.0)

        record(tmp_path / env, smoke("figure8", env), score, spread=0.0)
    record(tmp_path / "Ant-v4", smoke("figure8", "Ant-v4"), score, done=0.0)
    studies = [read(tmp_path / env) for env in (*best, "Ant-v4")]
    table = grid_table(studies, ["normal", "adversarial"])
    assert table.rows == [
        ["Hopper-v4", "0.3", "0.5", "85.0", "85.0", "85.0"],
        ["HalfCheetah-v4", "0.3", "2", "85.0", "85.0", "85.0"],
        ["Ant-v4", *["-"] * 5],
    ]


# Claims: scores for which each holds, and what makes it fail

LATE = lambda low, high: lambda share: high if share > 0.5 else low  # noqa: E731
TABLES = {
    ("offline", "normal"): 90,
    ("offline", "adversarial"): 20,
    ("scratch", "normal"): lambda share: 60 * share,
    ("scratch", "adversarial"): 50,
    ("none", "normal"): 90,
    ("none", "random"): 60,
    ("none", "adversarial"): 30,
    ("random", "normal"): 80,
    ("random", "random"): 85,
    ("random", "adversarial"): 60,
    ("adversarial", "normal"): LATE(50, 85),
    ("adversarial", "random"): 80,
    ("adversarial", "adversarial"): 80,
    ("linear", "normal"): LATE(90, 60),
    ("linear", "adversarial"): LATE(50, 75),
    ("adaptive", "normal"): 90,
    ("adaptive", "adversarial"): 75,
}
TABLE_3 = {
    ("offline", "adversarial"): 20,
    ("offline", "normal"): 90,
    ("only", "adversarial"): 70,
    ("only", "normal"): 80,
}
TABLE_4 = {
    ("adversarial", "normal"): 90,
    ("adversarial", "adversarial"): 80,
    ("adversarial", "pgd"): 60,
    ("pgd", "normal"): 70,
    ("pgd", "adversarial"): 60,
    ("pgd", "pgd"): 80,
}
HALFCHEETAH = "HalfCheetah-v4"
CASES = [
    ("R1", "tables", "Hopper-v4", TABLES, {("offline", "adversarial"): 60}),
    ("R2", "tables", "Hopper-v4", TABLES, {("scratch", "adversarial"): 90}),
    ("R2", "tables", "Hopper-v4", TABLES, {("offline", "adversarial"): 79.95}),
    ("R3", "tables", "Hopper-v4", TABLES, {("none", "adversarial"): 60}),
    ("R4", "tables", "Hopper-v4", TABLES, {("adversarial", "random"): 40}),
    ("R4", "tables", "Hopper-v4", TABLES, {("adversarial", "random"): 1.8}),
    ("R5", "tables", "Hopper-v4", TABLES, {("adversarial", "adversarial"): 55}),
    ("R5", "tables", "Hopper-v4", TABLES, {("none", "normal"): 70}),
    ("R6", "tables", "Hopper-v4", TABLES, {("adversarial", "normal"): 85}),
    ("R6", "tables", "Hopper-v4", TABLES, {("adversarial", "normal"): 50}),
    ("R6", "tables", "Hopper-v4", TABLES, {("scratch", "normal"): 95}),
    (
        "R7",
        "tables",
        "Hopper-v4",
        TABLES,
        {("adversarial", "adversarial"): LATE(40, 80)},
    ),
    ("R7", "tables", "Ant-v4", TABLES, {("adaptive", "adversarial"): LATE(40, 80)}),
    (
        "R7",
        "tables",
        HALFCHEETAH,
        TABLES | {("adversarial", "adversarial"): LATE(50, 80)},
        {("adversarial", "adversarial"): LATE(80, 80)},
    ),
    ("R8", "tables", "Hopper-v4", TABLES, {("linear", "normal"): 90}),
    ("R8", "tables", "Hopper-v4", TABLES, {("adaptive", "normal"): LATE(90, 60)}),
    ("R8", "tables", "Ant-v4", TABLES, {("linear", "adversarial"): 75}),
    ("R8", "tables", "Ant-v4", TABLES, {("adaptive", "adversarial"): 60}),
    ("R9", "figure9", "Hopper-v4", {(0.1, "adversarial"): 90}, {}),
    (
        "R9",
        "figure9",
        HALFCHEETAH,
        {(0.5, "adversarial"): 80, (1.0, "adversarial"): 80},
        {(1.0, "adversarial"): 95},
    ),
    (
        "R9",
        "figure9",
        "Ant-v4",
        {(0.5, "adversarial"): 80, (1.0, "adversarial"): 80},
        {(0.0, "adversarial"): 80},
    ),
    ("R10", "figure10", "Hopper-v4", {(1.0, "adversarial"): 40}, {}),
    ("R11", "table3", "Hopper-v4", TABLE_3, {("only", "normal"): 60}),
    ("R11", "table3", "Hopper-v4", TABLE_3, {("only", "adversarial"): 20}),
    (
        "R11",
        "table3",
        HALFCHEETAH,
        TABLE_3 | {("only", "normal"): 90},
        {("only", "normal"): 80},
    ),
    ("R12", "table4", "Hopper-v4", TABLE_4, {("pgd", "normal"): 90}),
    ("R12", "table4", "Hopper-v4", TABLE_4, {("pgd", "pgd"): 60}),
    ("R12", "table4", "Hopper-v4", TABLE_4, {("adversarial", "adversarial"): 60}),
]


def verdict(folder, claim, config, values, **kwargs):
    record(folder, config, scores(values), spread=0.1, **kwargs)
    return judge(CLAIMS[claim], read(folder))


@pytest.mark.parametrize(("claim", "name", "env", "values", "change"), CASES)
def test_a_verdict_turns_with_the_numbers(claim, name, env, values, change, tmp_path):
    config = smoke(name, env)
    found = verdict(tmp_path / "holds", claim, config, values)
    assert found.holds is True, found
    changed = values | change if change else dict.fromkeys(values, 50)
    found = verdict(tmp_path / "fails", claim, config, changed)
    assert found.holds is False, found
    assert str(found).startswith("**does not**: ")
    found = verdict(tmp_path / "begun", claim, config, values, done=0.0)
    assert found.holds is (True if claim == "R1" else None), found


@pytest.mark.parametrize("name", ["tables", "table3", "table4", "figure9", "figure10"])
def test_no_claim_holds_where_all_scores_are_equal(name, tmp_path):
    """Policies that all fall over prove nothing, even without any error."""
    study = read(record(tmp_path / "out", smoke(name), scores({}), spread=0.0))
    claims = [claim for part in DRAWN[name] for claim in PARTS[part].claims]
    verdicts = {claim: judge(CLAIMS[claim], study).holds for claim in claims}
    expected = {claim: claim == "R4" for claim in claims}  # 50 is above half of 50
    assert verdicts == expected


def test_clearly_is_more_than_two_standard_errors(tmp_path):
    """R1: half of 90 against 40, with runs 2 and 4 apart."""
    values = {("offline", "normal"): 90, ("offline", "adversarial"): 40}
    for spread, holds in ((2.0, True), (4.0, False)):
        # means are half a spread higher, and so is each standard error: normal / 2 is
        # 45 + s / 4 with s / 4, adversarial 40 + s / 2 with s / 2
        gap, error = 5 - spread / 4, np.hypot(spread / 4, spread / 2)
        assert (gap > 2 * error) == holds
        out = record(
            tmp_path / f"{spread}", smoke("table1"), scores(values), spread=spread
        )
        assert judge(CLAIMS["R1"], read(out)).holds is holds


# Folders that are not finished


def test_an_unfinished_study_has_the_cells_it_has(tmp_path):
    """Columns that have not begun, budgets not reached, runs that are missing."""
    out = record(tmp_path / "out", smoke("tables"), scores(TABLES), done=0.7)
    rows = results.read_rows(out / "chunks.jsonl")
    (out / "chunks.jsonl").unlink()
    kept = [
        row
        for row in rows
        if row.get("curriculum.kind") != "linear"
        and not (row.get("curriculum.kind") == "adaptive" and row["seed"] == 1)
    ]
    results.append_rows(out / "chunks.jsonl", kept)
    text = report.write(out)
    table = table_of(text, "## Table 1")
    assert table[4][2].startswith("20.5 ") and table[4][3:] == ["-"] * 4
    table = table_of(text, "## Table 2")
    assert table[1][2:] == ["500", "-", "-", "-", "500", "1,000", "1,500"]
    assert table[4][3:6] == ["-"] * 3
    assert table[4][6].endswith(" / - (1 of 2 runs)") and table[4][8] == "-"
    assert text.count("**not tested at this budget**") == 7  # all but R1
    assert "linear, 1/3 under adversarial: 0 of 2 runs got there" in text


def test_a_run_that_failed_makes_its_cells_nan(tmp_path):
    """Where it failed and later; a mean over the others would say that all is well."""
    out = record(tmp_path / "out", smoke("tables"), scores(TABLES))
    kept = []
    for row in results.read_rows(out / "chunks.jsonl"):
        if row.get("curriculum.kind") == "adaptive" and row["seed"] == 1:
            if row["step"] > 1_000:
                continue
            if row["step"] == 1_000:
                row |= {"failed": "critic/loss is not", "curriculum/q": None}
        kept.append(row)
    (out / "chunks.jsonl").unlink()
    results.append_rows(out / "chunks.jsonl", kept)
    text = report.write(out)
    adaptive = table_of(text, "## Table 2")[4][6:]
    assert adaptive[0].startswith("75.5 ")
    assert adaptive[1:] == ["nan ± nan / nan"] * 2
    assert "adaptive, 3/3 under normal: a run has failed" in text  # R8


def test_a_study_that_has_just_begun_has_a_report(tmp_path):
    for name in ("figure8", "figure10"):
        out = record(tmp_path / name, smoke(name), scores({}), done=0.0)
        (out / "chunks.jsonl").unlink()
        text = report.write(out)
        row = "| Hopper-v4 | normal | - | - |"
        assert (row if name == "figure10" else "| Hopper-v4 | - | - |") in text


def test_a_folder_without_studies_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="no results folder: it has no config"):
        report.write(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text('{"study": "table9"}')
    with pytest.raises(ConfigError, match=r"study in .* is 'table9'; .*table1"):
        report.write(tmp_path)
