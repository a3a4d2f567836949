"""What a study of adversarial fine-tuning left: its runs and their scores.

A column of a table picks runs by their settings and a point of their budget; a sample
is what its runs scored there under one condition.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments import folders
from experiments.settings import flatten, parse_setting
from rpex_jax.data import scores
from rpex_jax.results import Summary, summarise


class Run(NamedTuple):
    """One run online, or one pretrained policy."""

    settings: dict[str, Any]  # all, by key; and its labels
    evaluations: dict[int, dict[str, np.ndarray]]  # step: condition: scores [episodes]
    q: list[tuple[int, float]]  # (steps done, q of the chunk that ended there)
    step: int  # done; of a run that failed, all it was to do


class Study(NamedTuple):
    """One environment's results, finished or not."""

    env: str
    config: dict
    pretrained: list[Run]
    online: list[Run]


class Column(NamedTuple):
    """Which runs, and where in their budget."""

    name: str
    settings: dict[str, Any]  # that its runs have
    third: int = 0  # of config.online.steps; 0: where each run ends
    pretrained: bool = False  # the policies that the runs start from


class Sample(NamedTuple):
    """Scores under one condition, [episodes] of every run that got there."""

    runs: list[np.ndarray]
    expected: int  # runs, when the study is finished

    @property
    def summary(self) -> Summary:
        """Mean, and standard error over runs."""
        return summarise([float(np.mean(of_run)) for of_run in self.runs])

    @property
    def pooled_error(self) -> float:
        """Standard error over the episodes of all runs, as the paper has it.

        It takes no notice that episodes of a run have their policy in common.
        """
        return summarise(np.concatenate(self.runs)).standard_error


def read(folder: Path) -> Study:
    """The study of a results folder."""
    config = folders.read_json(folder / "config.json")
    settings = dict(flatten(ConfigDict(config)))
    further = (parse_setting(axis)[0] for axis in config["sweep"]["axes"])
    names = ("base", "method", "corruption", "seed", *further)
    pretrained: dict[int, Run] = {}
    online: dict[tuple, Run] = {}
    for row in folders.read_rows(folder):
        of_row = _scores(config, row)
        if row["phase"] != "online":
            if of_row:  # in order of time; phase "pretrained" comes last
                pretrained[row["pretraining"]] = Run(settings, {0: of_row}, [], 0)
            continue
        labels = {name: row[name] for name in names}
        key = tuple(labels.values())
        run = online.get(key, Run(settings | labels, {}, [], 0))
        if of_row:
            run.evaluations[row["step"]] = of_row
        if row.get("curriculum/q") is not None:  # null: it was NaN
            run.q.append((row["step"], row["curriculum/q"]))
        has_failed = "failed" in row  # its NaN is what it scores from here on
        step = run.settings["online.steps"] if has_failed else row["step"]
        online[key] = run._replace(step=step)
    return Study(
        config["env"], config, list(pretrained.values()), list(online.values())
    )


def _scores(config: dict, row: dict) -> dict[str, np.ndarray]:
    """Condition: scores of episodes, of a row of results; NaN where the run failed."""
    if "failed" in row:
        return dict.fromkeys(config["evaluation"]["conditions"], np.array([np.nan]))
    return {
        "normal" if name == "returns" else name.removeprefix("returns/"): as_scores(
            config["env"], values
        )
        for name, values in row.items()
        if name.split("/")[0] == "returns"
    }


def as_scores(env_name: str, returns: list[float]) -> np.ndarray:
    """D4RL scores where they are defined, else the returns."""
    if scores.has_reference(env_name):
        return scores.normalised_score(env_name, returns)
    return np.asarray(returns, np.float64)


def runs_of(study: Study, column: Column) -> list[Run]:
    """The runs of a column, as far as there are any."""
    runs = study.pretrained if column.pretrained else study.online
    return [run for run in runs if column.settings.items() <= run.settings.items()]


def sample(study: Study, column: Column, condition: str) -> Sample | None:
    """A column's scores under one condition; None if no run has got there."""
    found = []
    for run in runs_of(study, column):
        target = 0
        if not column.pretrained:
            target = target_step(study, column, run)
        # the last evaluation by then; the end of a run always has one
        steps = [step for step in run.evaluations if step <= target]
        if steps and run.step >= target:
            found.append(run.evaluations[max(steps)].get(condition))
    found = [of_run for of_run in found if of_run is not None]
    return Sample(found, len(study.config["sweep"]["seed"])) if found else None


def target_step(study: Study, column: Column, run: Run) -> int:
    """The step of a run that a column looks at."""
    if column.third:
        return column.third * study.config["online"]["steps"] // 3
    return run.settings["online.steps"]


def curve(
    study: Study, column: Column, condition: str
) -> tuple[np.ndarray, list[Summary]]:
    """Steps, and score over runs at each, as far as all runs have come."""
    runs = runs_of(study, column)
    common = set.intersection(*(set(run.evaluations) for run in runs)) if runs else ()
    steps = sorted(
        s for s in common if all(condition in r.evaluations[s] for r in runs)
    )
    of_steps = [
        summarise([float(np.mean(run.evaluations[step][condition])) for run in runs])
        for step in steps
    ]
    return np.array(steps, int), of_steps


def mean_q(study: Study, column: Column) -> float:
    """Of a column's runs over training; NaN if they have none."""
    values = [q for run in runs_of(study, column) for _, q in run.q]
    return float(np.mean(values)) if values else math.nan
