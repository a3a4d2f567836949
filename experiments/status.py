"""How far a sweep is, finished or running, from its files alone.

    python -m experiments.status runs/quickstart

A line for each group of runs that is one program, in the order of training: chunks
done, the latest score, steps a second over the last chunks, time left. Under it what is
left in all, when the last row was written, and the runs that have failed.
"""

import datetime
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import folders, study, units
from experiments.command_line import run, the_folder
from experiments.groups import Plan
from experiments.settings import ConfigError
from experiments.study_results import as_scores
from rpex_jax import results, sweep

RECENT = 3  # chunks that tell the rate; the first one compiles
NAMES = ("base", "method", "corruption", "seed")  # of a run that has failed


class Progress(NamedTuple):
    """One group of runs."""

    name: str  # of its checkpoints and rows
    what: str
    runs: int
    chunks: int  # done; all of them once all runs have failed
    expected: int
    chunk_steps: int
    score: float  # mean over runs of the last evaluation; NaN before the first
    rate: float  # steps of all runs a second; NaN before the second chunk

    @property
    def steps_left(self) -> int:
        """Of all runs."""
        return (self.expected - self.chunks) * self.chunk_steps * self.runs


def main(argv: list[str]) -> None:
    print(status(the_folder(argv), time.time()))


def status(out: Path, now: float) -> str:
    """The report, in Markdown; `now` is in seconds since 1970.

    Raises:
      ConfigError: the folder is not of a sweep of this version.
    """
    config = folders.read(out)
    if "sweep" not in config:
        raise ConfigError(f"{out} is a collection's folder; it must be of a sweep")
    parts = units.parts(out, study.expand_grid(config))
    groups = [group for part in parts for group in progress(*part, config.env)]
    header = ["group", "what", "runs", "chunks", "score", "steps/s", "time left"]
    lines = [
        [
            group.name,
            group.what,
            str(group.runs),
            f"{group.chunks} of {group.expected}",
            _number(group.score),
            _number(group.rate),
            _duration(_seconds_left(group, groups)),
        ]
        for group in groups
    ]
    text = [results.markdown_table(header, lines), _summary(out, groups, now)]
    return "\n\n".join([*text, *_failures(folders.read_rows(out))])


def progress(folder: Path, part: Plan, env_name: str) -> list[Progress]:
    """Every group of a study, or of a unit of it, in the order of training."""
    groups = []
    for name, (program, keys) in part.offline.items():
        sizes = (len(keys), program.steps, program.chunk)
        groups.append((name, program.base, *sizes))
    for name, (program, members) in part.online.items():
        methods = dict.fromkeys(run.labels["method"] for run in members)
        what = f"{program.base} {', '.join(methods)}"
        sizes = (len(members), program.steps - program.warmup, program.chunk)
        groups.append((name, what, *sizes))
    rows = results.read_rows(folder / "chunks.jsonl")
    of_groups = sweep.group_by(rows, lambda row: row.get("group"))
    return [_group(*group, of_groups.get(group[0], []), env_name) for group in groups]


def _group(
    name: str, what: str, runs: int, steps: int, chunk: int, rows: list, env_name: str
) -> Progress:
    done = max((row["chunk"] for row in rows), default=0)
    evaluated = [row for row in rows if "returns" in row]
    last = max((row["chunk"] for row in evaluated), default=0)
    finals = [
        np.asarray(row["returns"], np.float64)
        for row in evaluated
        if row["chunk"] == last
    ]
    score = np.nan
    if finals:
        score = float(as_scores(env_name, np.concatenate(finals)).mean())
    seconds = {
        row["chunk"]: row["wall/chunk"] + row["wall/evaluation"]
        for row in rows
        if row["chunk"] > max(1, done - RECENT)
    }
    rate = runs * chunk / np.mean([*seconds.values()]) if seconds else np.nan
    expected = steps // chunk
    if sum("failed" in row for row in rows) == runs:  # there will be no more rows
        done = expected
    return Progress(name, what, runs, done, expected, chunk, score, float(rate))


def _seconds_left(group: Progress, groups: list[Progress]) -> float:
    """By the group's own rate, or that of the last group of its phase that has one."""
    if not group.steps_left:
        return 0.0
    phase = group.name.split("-")[0]
    rates = [g.rate for g in groups if g.name.startswith(phase)]
    known = [group.rate, *rates[::-1]]
    rate = next((rate for rate in known if np.isfinite(rate)), np.nan)
    return group.steps_left / rate


def _summary(out: Path, groups: list[Progress], now: float) -> str:
    left = sum(_seconds_left(group, groups) for group in groups)
    done = sum(group.chunks == group.expected for group in groups)
    text = f"{done} of {len(groups)} groups are done; time left {_duration(left)}"
    files = [out / "chunks.jsonl", *out.glob("units/*/chunks.jsonl")]
    if written := [file.stat().st_mtime for file in files if file.exists()]:
        text += f"; last row written {_duration(now - max(written))} ago"
    return f"{text}."


def _failures(rows: list[dict]) -> list[str]:
    """A line for each run that has failed."""
    lines = {}
    for row in rows:
        if "failed" in row:
            names = [name for name in NAMES if name in row]
            labels = ", ".join(f"{name} {row[name]}" for name in names)
            lines[f"failed: {row['group']}, {labels}: {row['failed']}"] = None
    return ["\n".join(lines)] if lines else []


def _number(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else ""


def _duration(seconds: float) -> str:
    if not np.isfinite(seconds):
        return "?"
    return str(datetime.timedelta(seconds=round(seconds)))


if __name__ == "__main__":
    run(main)
