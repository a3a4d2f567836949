"""The report of a comparison on recorded rows whose numbers are known."""

import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

from experiments import report
from experiments.configs.default import default_config
from experiments.reports.comparison import next_simpler
from experiments.reports.comparison_plots import COLOURS, lines_of
from experiments.reports.comparison_results import progress
from experiments.reports.document import (
    Bullets,
    Heading,
    Table,
    sentence,
    to_html,
    to_markdown,
)
from rpex_jax import results
from rpex_jax.data.scores import reference_scores

ENV = "Hopper-v4"
CORRUPTIONS = ("reward", "dynamics")
METHODS = ("offline", "direct", "pex", "rpex")
SEEDS = (0, 1, 2)
GAIN = {"direct": 1.0, "pex": 20.0, "rpex": 21.0}  # of the score, over training
HOSTILE = '<script src="http://evil/x.js"></script><img src=//evil onerror=alert(1)>'
VOID = {"meta", "img", "br", "link", "input", "hr"}


def score(method: str, corruption: str, seed: int, step: int) -> float:
    """Seeds are 3 apart and corruptions 40; methods part while they train."""
    start = 10 + 40 * CORRUPTIONS.index(corruption) + 3.0 * seed
    return start + GAIN.get(method, 0.0) * step / 10_000


def returns(mean: float) -> list[float]:
    low, high = reference_scores(ENV)
    return (low + (mean + np.array([-1.0, 1.0])) / 100 * (high - low)).tolist()


def make_config(**sweep) -> dict:
    config = default_config()
    config.note = "a study of seconds"
    config.env = ENV
    config.sweep.base = ("iql",)
    config.sweep.method = METHODS
    config.sweep.corruption = CORRUPTIONS
    config.sweep.seed = SEEDS
    config.online.steps = 10_000
    config.offline.steps = 2_000
    config.sweep.update(sweep)
    return config.to_dict()


def make_rows() -> list[dict]:
    """As a sweep writes them: pretraining, then all methods a chunk at a time."""
    rows = []
    runs = [
        {"base": "iql", "corruption": c, "seed": s, "pretraining": 3 * i + s}
        for i, c in enumerate(CORRUPTIONS)
        for s in SEEDS
    ]
    for step in (1_000, 2_000):
        for run in runs:
            mean = score("offline", run["corruption"], run["seed"], 0)
            place = {"phase": "offline", "step": step, "group": "o", "chunk": step}
            rows.append(run | place | {"returns": returns(mean - 2_000 + step)})
    for step in (4_000, 6_000, 8_000, 10_000):
        for method in METHODS[1:]:
            for run in runs:
                mean = score(method, run["corruption"], run["seed"], step)
                row = run | {"method": method, "phase": "online", "step": step}
                row |= {"group": method, "chunk": step}
                if method != "direct":
                    row |= {"selection/online_share": 0.25, "critic/loss": 1.0}
                rows.append(row | {"returns": returns(mean)})
    return rows


def record(folder, config: dict, rows: list[dict]):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    results.append_rows(folder / "chunks.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished study, and what its report printed."""
    config = make_config() | {"note": HOSTILE}
    folder = record(tmp_path_factory.mktemp("report") / "out", config, make_rows())
    versions = {"jax": "0.0.0", "command": f"python -m it --note='{HOSTILE}'"}
    (folder / "versions.json").write_text(json.dumps(versions))
    return folder, report.write(folder)


class Page(HTMLParser):
    """Reads a page, and checks that its tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.seen, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def page_of(folder) -> Page:
    return Page((folder / "report.html").read_text())


def tables_of(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text."""
    blocks = [b.splitlines() for b in text.split("\n\n") if b.startswith("| ")]
    tables = [[re.split(r" \| ", line.strip("| ")) for line in b] for b in blocks]
    return [[table[0], *table[2:]] for table in tables]


# Numbers


def test_table_has_the_mean_of_the_last_three_evaluations(finished):
    """Steps 6,000, 8,000 and 10,000: eight tenths of the gain; seeds are 3 apart."""
    table = tables_of((finished[0] / "report.md").read_text())[0]
    assert table[0] == ["iql", *CORRUPTIONS, "average"]
    assert [row[0] for row in table[1:]] == list(METHODS)
    error = f"{np.std([0, 3, 6], ddof=1) / 3**0.5:.1f}"
    for method, reward, dynamics, average in table[1:]:
        gain = 0.8 * GAIN.get(method, 0.0)
        assert reward == f"13.0 -> {13 + gain:.1f} ± {error}"
        assert dynamics == f"53.0 -> {53 + gain:.1f} ± {error}"
        assert average == f"33.0 -> {33 + gain:.1f}"


def test_table_has_interquartile_means_and_who_beats_whom(finished):
    """Against SciPy; PEX is 15.2 above direct, seeds are 6 apart: it always wins."""
    table = tables_of((finished[0] / "report.md").read_text())[1]
    assert table[0] == ["iql", "runs", "IQM", "over", "P"]
    finals = {
        method: [
            [start + 3 * seed + 0.8 * GAIN.get(method, 0.0) for seed in SEEDS]
            for start in (10, 50)
        ]
        for method in METHODS
    }
    for row, simpler in zip(table[1:], ["-", *METHODS], strict=False):
        method, runs, iqm, over, probability = row
        assert (runs, over) == ("6", simpler)
        assert iqm.startswith(f"{stats.trim_mean(np.ravel(finals[method]), 0.25):.1f} ")
        if over != "-":
            pairs = zip(finals[method], finals[over], strict=True)
            u = [stats.mannwhitneyu(a, b).statistic / 9 for a, b in pairs]
            assert probability.startswith(f"{np.mean(u):.2f} [")
    assert table[3][-1] == "1.00 [1.00, 1.00]"


def test_a_method_is_compared_with_the_next_simpler_one():
    names = ("offline", "direct k=1", "direct k=2", "rpex k=2", "scratch k=2", "new")
    assert next_simpler("rpex k=2", names) == "direct k=2"  # there is no pex
    assert next_simpler("direct k=1", names) == "offline"
    assert next_simpler("scratch k=2", names) == "offline"
    assert next_simpler("offline", names) == ""
    assert next_simpler("pex k=3", names) == "offline"
    assert next_simpler("new", ("direct", "new")) == "direct"


# The page


def test_page_names_every_method_and_number(finished):
    folder, printed = finished
    page = page_of(folder)
    for table in tables_of((folder / "report.md").read_text()):
        for cell in itertools.chain(*table):
            assert cell in page.texts
            assert cell in printed
    for corruption in CORRUPTIONS:
        assert ("aria-label", corruption) in page.attributes
    # curves, their IQM, bars, the share; pretraining: one plot a corruption
    assert page.seen.count("svg") == 2 + 1 + 2 + 2 + 2
    assert "selection/online_share, iql" in page.texts
    assert printed.endswith(f"report: {folder / 'report.html'}")


def test_page_refers_to_nothing_outside(finished):
    """No script, and no address but of parts of its own."""
    page = page_of(finished[0])
    assert not {"script", "link", "iframe", "image"} & set(page.seen)
    names = {value for name, value in page.attributes if name == "id"}
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith("data:image/") or value[1:] in names
        for address in re.findall(r"url\(([^)]*)\)", value or ""):
            assert address[1:] in names
        assert not name.startswith("on")
    assert "@import" not in (finished[0] / "report.html").read_text()


def test_hostile_text_stays_text(finished):
    page = page_of(finished[0])
    assert f"{HOSTILE.capitalize()}." in "".join(page.texts)
    assert f"python -m it --note='{HOSTILE}'" in page.texts
    assert json.loads(page.texts[page.texts.index("Config") + 1])["note"] == HOSTILE
    escaped = to_html(
        "</title><b>", [Table(["<b>"], [["<i>", "<s>"]]), Bullets(["<u>"])]
    )
    assert not {"b", "i", "s", "u"} & set(Page(escaped).seen)


def test_page_follows_width_and_colours_of_the_reader(finished):
    text = (finished[0] / "report.html").read_text()
    assert '<meta name="viewport" content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text
    assert "stroke: currentColor" in text and "#010203" not in text


def test_figures_are_files_too(finished):
    folder = finished[0] / "figures"
    names = {"curves-iql", "iqm-iql", "final-iql", "pretraining"}
    names |= {"selection-online_share-iql"}
    assert {path.stem for path in folder.iterdir()} == names
    for name in names:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    text = (finished[0] / "report.md").read_text()
    for file in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (finished[0] / file).exists()


def test_a_note_is_a_sentence_with_its_own_capitals():
    assert sentence("few updates, RIQL's critics as IQL's") == (
        "Few updates, RIQL's critics as IQL's."
    )
    assert sentence("") == ""


def test_markdown_and_page_come_from_the_same_blocks(tmp_path):
    blocks = [Heading("A", 1), "It **is** *so*.", Table(["x", "y"], [["a", "1"]])]
    text = to_markdown(blocks, tmp_path)
    assert text == "# A\n\nIt **is** *so*.\n\n| x | y |\n| --- | --- |\n| a | 1 |\n"
    page = to_html("A", blocks)
    assert "<p>It <strong>is</strong> <em>so</em>.</p>" in page
    assert '<th scope="col">x</th><th scope="col">y</th>' in page
    assert '<tr><th scope="row">a</th><td>1</td></tr>' in page


# Studies that are not finished, or odd


def test_a_running_study_says_how_far_it_is(tmp_path):
    """RPEX has one run at its end and no other begun; the others are half way.

    One run of PEX has diverged: its returns are null, its cell is nan, the rest stands.
    So has a pretraining. There will be no more of either: they are at their end.
    """
    rows = [
        row
        for row in make_rows()
        if (row["step"] <= 6_000 and row.get("method") != "rpex")
        or (row.get("method") == "rpex" and row["pretraining"] == 0)
    ]
    rows = [row for row in rows if (row["pretraining"], row["step"]) != (5, 2_000)]
    for row in rows:
        place = row.get("method"), row["pretraining"], row["step"]
        if place == (None, 5, 1_000):
            row |= {"returns": [None, None], "failed": "actor/loss"}
        if place == ("pex", 4, 6_000):  # its last row
            row |= {"returns": [None, None], "selection/online_share": None}
            row |= {"failed": "returns"}
    folder = record(tmp_path / "out", make_config(), rows)
    report.write(folder)
    text = (folder / "report.md").read_text()
    share = (11 * 6_000 + 2 * 10_000) / (18 * 10_000)
    assert "**Not finished:** 2 of 18 online runs are at their end" in text
    assert f"{share:.0%} of all online steps are done" in text
    assert "pretraining is at 2,000 of 2,000 updates" in text
    finals, statistics = ({row[0]: row[1:] for row in t} for t in tables_of(text))
    assert finals["rpex"][0].startswith("10.0 -> 26.8 ±")
    assert finals["rpex"][1:] == ["-", "-"] and statistics["rpex"][0] == "1"
    assert finals["pex"][0] == "13.0 -> 23.0 ± 1.7" and "nan" in finals["pex"][1]
    assert statistics["pex"][1] == "nan [nan, nan]"
    assert statistics["direct"][1].startswith("33.5 ")
    assert "**Failed:** 2 runs; the first: actor/loss." in text
    page_of(folder)


@pytest.mark.parametrize("count", [0, 6])
def test_a_study_that_has_just_begun_has_a_page(tmp_path, count):
    """With nothing, and with the first evaluation of pretraining."""
    config = make_config(method=METHODS[1:])
    folder = record(tmp_path / "out", config, make_rows()[:count])
    assert report.write(folder).startswith("no evaluation online yet\n")
    page = page_of(folder)
    assert any("0 of 18 online runs" in text for text in page.texts)
    assert page.seen.count("svg") == (2 if count else 0)


def test_runs_that_the_study_skips_are_not_expected():
    """Of `pex` one of two values of kappa; `offline` does not learn online."""
    config = make_config(
        axes=("expansion.kappa=0, 0.1",), skip=("method=pex expansion.kappa=0",)
    )
    assert progress(config, []).expected == 3 * 12 - 6


def test_colours_stay_with_methods_and_differ():
    known = lines_of({"pex": [], "rpex": []})
    assert {name: line.colour for name, line in known.items()} == {
        name: COLOURS[name] for name in known
    }
    many = lines_of({"rpex": [], **{f"pex k={k}": [] for k in range(7)}, "new": []})
    assert many["rpex"].colour == COLOURS["rpex"]
    assert len({line.colour for line in many.values()}) == 9
