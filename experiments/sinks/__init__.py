"""Where a sweep's rows go beside its folder: TensorBoard, and Weights & Biases.

    python -m experiments.sweep ... --out=runs/kappa --sink=tensorboard,wandb
    tensorboard --logdir=runs/kappa/tensorboard

A sink gets what is on disk already, and `chunks.jsonl` stays what counts: a process
begins every run anew with the rows that a resume has kept, and a sink that fails costs
no training. Their packages are extras, imported when a sink is asked for.
`experiments.export` fills the same sinks from any results folder.
"""

import contextlib
import importlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from absl import flags
from tqdm import tqdm

from experiments.reports.comparison_results import further_axes
from experiments.settings import ConfigError, check_name
from experiments.study_results import as_scores
from rpex_jax import sweep

# Name of a sink, of its package and of its extra: its class.
SINKS = {"tensorboard": "TensorBoard", "wandb": "WeightsAndBiases"}
LABELS = ("base", "method", "corruption", "seed", "pretraining")  # and further axes
PLACE = ("group", "phase", "chunk", "step")

SINK = flags.DEFINE_list("sink", [], f"Who else gets the curves: {', '.join(SINKS)}.")


class Run(NamedTuple):
    """One pretraining or one run online."""

    name: str  # "online/base=iql/method=pex/..."; no two of a study share one
    group: str  # of runs that train together
    labels: dict[str, Any]


class Point(NamedTuple):
    """The numbers of one chunk, all of them finite."""

    step: int  # updates offline, environment steps online
    values: dict[str, float]


class Sink(Protocol):
    """Takes curves. A group's runs come together, and no group comes twice."""

    def write(self, run: Run, points: Sequence[Point]) -> None:
        """Adds points in order of step; a run's first call has all there are so far."""

    def close(self) -> None:
        """Nothing more will come."""


def open_sinks(names: Iterable[str], out: Path) -> dict[str, Sink]:
    """The sinks of a results folder, by name.

    Raises:
      ConfigError: there is no such sink, or it cannot work here.
    """
    sinks = {}
    for name in names:
        check_name("--sink", name, tuple(SINKS))
        try:
            module = importlib.import_module(f"experiments.sinks.{name}")
        except ImportError as error:
            raise ConfigError(
                f"--sink is {name}, which needs pip install -e '.[{name}]' ({error})"
            ) from error
        sinks[name] = getattr(module, SINKS[name])(out)
    return sinks


@contextlib.contextmanager
def followed(
    sinks: dict[str, Sink], config: Mapping[str, Any]
) -> Iterator[Callable[[list[dict]], None]]:
    """Gives `log(rows)`, for a group's rows: what is kept of it, then every chunk's.

    A sink that fails is told of once and gets nothing more.
    """

    def attempt(act: Callable[[Sink], None]) -> None:
        for name, sink in list(sinks.items()):
            try:
                act(sink)
            except Exception as error:  # whatever it is, training goes on
                del sinks[name]
                problem = " ".join(f"{type(error).__name__}: {error}".split())
                tqdm.write(
                    f"--sink={name} has failed and gets no more, training goes on: "
                    f"{problem}",
                    file=sys.stderr,
                )

    def log(rows: list[dict]) -> None:
        if sinks:
            told = curves(rows, config)
            attempt(lambda sink: write_all(sink, told))

    try:
        yield log
    finally:
        attempt(lambda sink: sink.close())


def write_all(sink: Sink, told: Iterable[tuple[Run, list[Point]]]) -> None:
    """Writes the points of several runs."""
    for run, points in told:
        sink.write(run, points)


def curves(
    rows: Iterable[dict], config: Mapping[str, Any]
) -> list[tuple[Run, list[Point]]]:
    """The points of every run in the rows, which are in order of step.

    Returns of episodes become their mean score, or mean return where there is no
    score: `returns/random` is `score/random`. What is no finite number is left out.

    Args:
      rows: as in `chunks.jsonl`.
      config: of their study.
    """
    names = (*LABELS, *further_axes(config))
    runs: dict[str, tuple[Run, list[Point]]] = {}
    for row in rows:
        labels = {label: row[label] for label in names if label in row}
        parts = [f"{label}={quote(str(x), ' ,()')}" for label, x in labels.items()]
        name = "/".join([row["phase"], *parts])
        values = {
            metric.replace("returns", "score", 1): _number(config["env"], value)
            for metric, value in row.items()
            if metric not in names + PLACE and not isinstance(value, str | None)
        }
        finite = {metric: x for metric, x in values.items() if math.isfinite(x)}
        _, points = runs.setdefault(name, (Run(name, row["group"], labels), []))
        points.append(Point(row["step"], finite))
    return list(runs.values())


def by_group(rows: Iterable[dict]) -> list[list[dict]]:
    """Rows of chunks, those of a group together.

    The scores of pretrained policies, which are no chunks, are left out.
    """
    chunks = (row for row in rows if row["phase"] != "pretrained")
    return list(sweep.group_by(chunks, lambda row: row["group"]).values())


def _number(env_name: str, value: float | list[float]) -> float:
    if isinstance(value, list):
        return float(as_scores(env_name, value).mean())
    return float(value)
