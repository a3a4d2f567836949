"""The runs of a comparison of methods, finished or not, as its folder has them."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments import folders, study
from experiments.settings import parse_setting
from experiments.study_results import as_scores
from rpex_jax.methods import METHODS

LOGGED = ("selection/", "curriculum/")  # metrics that are drawn


class Curve(NamedTuple):
    """The evaluations of one online run, with its pretraining's at step 0."""

    corruption: str
    offline: float  # score of the pretrained policy, its last evaluation
    points: list[tuple[int, float]]  # (online step, mean score)
    metrics: Mapping[str, list[tuple[int, float]]] = MappingProxyType(
        {}
    )  # (step, value)


class Progress(NamedTuple):
    """How much of a study is done."""

    finished: int  # online runs
    expected: int
    share: float  # of all online steps, in [0, 1]
    offline: int  # updates that every pretraining has come to


Curves = dict[tuple[str, str], list[Curve]]  # (base, method): over corruptions, seeds


def read_curves(folder: Path, config: dict) -> Curves:
    """The curves of a study's runs, by base and method."""
    return online_curves(config, folders.read_rows(folder))


def online_curves(config: dict, rows: list[dict]) -> Curves:
    """The curves of all runs that were evaluated; methods in the config's order.

    A further axis of the grid tells methods apart: `rpex expansion.kappa=0.3`. The
    method `offline`, which has no rows online, is flat.
    """
    further = further_axes(config)
    offline = {
        pretraining: (labels, points[-1][1])
        for pretraining, (labels, points) in pretrainings(config, rows).items()
    }
    runs: dict[str, tuple[dict, Curve]] = {}
    for row in rows:
        if row["phase"] != "online":
            continue
        labels = run_labels(row, further)
        key = json.dumps(labels)
        if key not in runs:
            _, score = offline[row["pretraining"]]
            runs[key] = labels, Curve(row["corruption"], score, [], {})
        curve = runs[key][1]
        if "returns" in row or "failed" in row:
            curve.points.append((row["step"], mean_score(config, row)))
        for name in row:
            if name.startswith(LOGGED):
                point = (row["step"], as_number(row[name]))
                curve.metrics.setdefault(name, []).append(point)
    curves: Curves = {}
    if "offline" in config["sweep"]["method"]:
        for labels, score in offline.values():
            points = [(config["online"]["steps"], score)]
            curve = Curve(labels["corruption"], score, points, {})
            curves.setdefault((labels["base"], "offline"), []).append(curve)
    for labels, curve in runs.values():
        if curve.points:
            name = " ".join([labels["method"], *(f"{k}={labels[k]}" for k in further)])
            curves.setdefault((labels["base"], name), []).append(curve)
    order = list(config["sweep"]["method"])
    return dict(sorted(curves.items(), key=lambda i: order.index(i[0][1].split()[0])))


def pretraining_curves(config: dict, rows: list[dict]) -> Curves:
    """The same of pretraining: scores against updates, from the first evaluation on."""
    curves: Curves = {}
    for labels, points in pretrainings(config, rows).values():
        curve = Curve(labels["corruption"], points[0][1], points, {})
        curves.setdefault((labels["base"], "pretraining"), []).append(curve)
    return curves


def pretrainings(
    config: dict, rows: list[dict]
) -> dict[int, tuple[dict, list[tuple[int, float]]]]:
    """Number of a pretraining: one of its rows, and its (update, mean score)."""
    found: dict[int, tuple[dict, list]] = {}
    for row in rows:  # of a run they are in order of time
        if row["phase"] == "offline" and ("returns" in row or "failed" in row):
            _, points = found.setdefault(row["pretraining"], (row, []))
            points.append((row["step"], mean_score(config, row)))
    return found


def progress(config: dict, rows: list[dict]) -> Progress:
    """How far the runs of the grid have come; one that failed is at its end."""
    further = further_axes(config)
    targets = [
        int(labels.get("online.steps", config["online"]["steps"]))
        for labels in study.grid(ConfigDict(config))
        if METHODS[labels["method"]].learns
    ]
    done: dict[str, tuple[int, int]] = {}
    updates: dict[int, int] = {}
    for row in rows:
        has_failed = "failed" in row  # this row is its last
        if row["phase"] == "online":
            target = int(row.get("online.steps", config["online"]["steps"]))
            key = json.dumps(run_labels(row, further))
            done[key] = target if has_failed else row["step"], target
        elif row["phase"] == "offline":
            target = config["offline"]["steps"]
            updates[row["pretraining"]] = target if has_failed else row["step"]
    return Progress(
        finished=sum(step >= target for step, target in done.values()),
        expected=len(targets),
        share=sum(step for step, _ in done.values()) / max(sum(targets), 1),
        offline=min(updates.values(), default=0),
    )


def further_axes(config: dict) -> list[str]:
    """The axes beside base, method, corruption and seed."""
    return [parse_setting(axis)[0] for axis in config["sweep"]["axes"]]


def run_labels(row: dict, further: list[str]) -> dict:
    """What tells the row's run from the others."""
    names = ("base", "method", "corruption", "seed", *further, "pretraining")
    return {name: row[name] for name in names}


def mean_score(config: dict, row: dict) -> float:
    """Over the episodes of an evaluation; NaN where a return is, or the run failed."""
    if "failed" in row:
        return np.nan
    return float(np.mean(as_scores(config["env"], row["returns"])))


def as_number(value: float | None) -> float:
    """What was NaN or infinite was written as null."""
    return np.nan if value is None else float(value)
