"""Rows on disk and the numbers that are made of them."""

import contextlib
import json
import math

import numpy as np
import pytest
from scipy import stats

from rpex_jax import results

ROW = {"method": "rpex", "seed": 3, "step": 1000, "returns": [1.5, -0.25], "loss": 0.1}


def test_rows_come_back(tmp_path):
    """Appending keeps order, types and every digit of a float."""
    path = tmp_path / "rows.jsonl"
    rows = [
        ROW,
        ROW | {"seed": 4, "loss": 1 / 3, "tiny": 5e-324, "ok": True, "no": None},
    ]
    results.append_rows(path, rows[:1])
    results.append_rows(path, rows[1:])
    assert results.read_rows(path) == rows


def test_no_file_is_no_rows(tmp_path):
    """A sweep that has written nothing yet can be read."""
    assert results.read_rows(tmp_path / "rows.jsonl") == []


@pytest.mark.parametrize("kept", [1, 10, -1])
def test_a_line_cut_off_while_writing_is_left_out(tmp_path, kept):
    """A kill in the middle of a write costs that line alone, wherever it is cut.

    With -1 only the line break is missing.
    """
    path = tmp_path / "rows.jsonl"
    results.append_rows(path, [ROW, ROW | {"seed": 4}])
    first, second, _ = path.read_text().split("\n")
    path.write_text(first + "\n" + (second if kept == -1 else second[:kept]))
    assert results.read_rows(path) == [ROW]
    # dropping rows repairs the file, so that the next line starts on its own
    results.keep_rows(path, lambda row: True)
    results.append_rows(path, [ROW | {"seed": 5}])
    assert [row["seed"] for row in results.read_rows(path)] == [3, 5]


def test_keep_rows_drops_the_others(tmp_path):
    """Rows beyond the checkpoint go; those of other groups stay, in order."""
    path = tmp_path / "rows.jsonl"
    rows = [{"group": g, "chunk": c} for c in (1, 2, 3) for g in ("a", "b")]
    results.append_rows(path, rows)
    results.keep_rows(path, lambda row: row["group"] != "a" or row["chunk"] <= 1)
    kept = [(row["group"], row["chunk"]) for row in results.read_rows(path)]
    assert kept == [("a", 1), ("b", 1), ("b", 2), ("b", 3)]
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_json_lacks_becomes_null(tmp_path, bad):
    """Every line is strict JSON, however deep the NaN is."""
    path = tmp_path / "rows.jsonl"
    results.append_rows(path, [{"x": bad, "deep": {"y": [1.0, bad]}, "fine": 1.0}])

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    row = json.loads(path.read_text(), parse_constant=refuse)
    assert row == {"x": None, "deep": {"y": [1.0, None]}, "fine": 1.0}


def test_write_atomically_replaces_and_leaves_nothing_else(tmp_path):
    """The new text in full, no temporary file."""
    path = tmp_path / "config.json"
    for text in ("a much longer first text", "short"):
        results.write_atomically(path, text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_fails_half_way_is_as_before(tmp_path):
    path = tmp_path / "rows.npz"
    for content in (b"old", b"new"):
        with contextlib.suppress(KeyError), results.whole_file(path) as file:
            file.write(content)
            if content == b"new":
                raise KeyError
        assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("count", [2, 5, 100])
def test_summarise_against_numpy_and_scipy(count):
    """Mean, and SciPy's standard error of the mean, far from zero too."""
    values = 1e6 + np.random.default_rng(count).normal(size=count)
    summary = results.summarise(values.tolist())
    assert summary.count == count
    np.testing.assert_allclose(summary.mean, np.mean(values), rtol=1e-15)
    np.testing.assert_allclose(summary.standard_error, stats.sem(values), rtol=1e-9)


def test_summarise_one_seed_has_no_error():
    """One seed says nothing of the spread."""
    summary = results.summarise([2.5])
    assert summary.mean == 2.5 and summary.count == 1
    assert math.isnan(summary.standard_error)


def test_final_score_is_the_mean_of_the_last_three_by_step():
    """Whatever order the rows came in; shorter curves use what there is."""
    curve = [(30, 3.0), (10, 100.0), (40, 5.0), (20, 1.0)]
    assert results.final_score(curve) == 3.0
    assert results.final_score(curve[:2]) == 51.5
    assert results.final_score(curve, last=1) == 5.0
