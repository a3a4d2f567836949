"""Measures the policies of a sweep: kurtosis, action histograms, selection.

    python -m experiments.measure --checkpoint=runs/quickstart --out=FOLDER \
      [--samples=5000]

A checkpoint is as in `experiments.evaluate`. Every policy acts, by sampling, once at
each of the same states, drawn from the clean data set of the sweep; beside it acts the
policy that it started from, which in a policy set is the frozen member. Definitions are
in docs/measures.md. The table has means over runs that differ in their seed alone; the
folder gets it, a PNG of the histograms, and in measures.json every run.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict

from experiments import folders, inspection, study
from experiments.command_line import OUT, cache_compilations, fail
from experiments.policies import Policies
from experiments.settings import ConfigError
from rpex_jax import expansion, measures, results, sweep
from rpex_jax.agents.critics import td_target
from rpex_jax.data import sources
from rpex_jax.data.dataset import DatasetError
from rpex_jax.data.statistics import standardise
from rpex_jax.expansion import ExpansionConfig
from rpex_jax.training.offline import (
    OfflineData,
    data_key,
    put_on_device,
    standardise_batch,
    take_rows,
)
from rpex_jax.types import Agent

matplotlib.use("agg")
import matplotlib.pyplot as plt

_SAMPLES = flags.DEFINE_integer("samples", 5000, "States, one action at each.", 2)

EDGES = np.linspace(-3.0, 3.0, 61)  # of the histograms; [-1, 1] can be executed
COLUMNS = {  # of the table: what a run may have, and its name there
    "kurtosis_before": "kurtosis before",
    "kurtosis": "kurtosis",
    "kurtosis_q_targets": "of Q targets",
    "selection/online_share": "online share",
    "selection/effective_members": "effective members",
    "selection/correction_size": "correction, size",
    "selection/correction_range": "range",
    "selection/clipped_low": "clipped low",
    "selection/clipped_high": "high",
}


class Measured(NamedTuple):
    """One run."""

    labels: dict[str, Any]
    step: int
    numbers: dict[str, float]  # NaN where something cannot be measured
    before: np.ndarray  # counts of actions, [action_dim, bins]
    after: np.ndarray


def main(argv: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # Orbax warns of every folder it reads
    try:
        _, groups = inspection.load(argv)
        data = data_of(groups[0].pretrained.out)
    except (ConfigError, DatasetError) as error:
        fail(error)
    cache_compilations()
    runs = [run for g in groups for run in measure(g, data, _SAMPLES.value)]
    text = table(runs)
    print(text)
    if OUT.value:
        write(Path(OUT.value), runs, text)


def data_of(out: Path) -> OfflineData:
    """The data set of a sweep's folder.

    Raises:
      ConfigError: the folder is of a collection.
      DatasetError: the data set is not there any more.
    """
    config = ConfigDict(json.loads((out / "config.json").read_text()))
    if "data" not in config:
        raise ConfigError(
            f"--checkpoint is {out}, a collection; it must be of a sweep, whose data "
            "set has the states to act at"
        )
    dataset = sources.load(
        config.data.source,
        action_range=tuple(config.data.action_range) or None,
        drop_observation_columns=tuple(config.data.drop_observation_columns),
    )
    return put_on_device(dataset, study.reward_unit(config, dataset))


def measure(group: Policies, data: OfflineData, num_samples: int) -> list[Measured]:
    """Every run of a group, at the same states."""
    key_rows, key_act, key_before, key_select = jax.random.split(jax.random.key(0), 4)
    rows = jax.random.randint(
        key_rows, (num_samples,), 0, len(data.transitions.rewards)
    )
    pretrained = group.pretrained
    edges = jnp.asarray(EDGES)

    def of_run(state, statistics, run, first, first_config):
        observations = standardise(data.transitions.observations[rows], statistics)

        def acts(agent: Agent, key, state, config):
            return agent.act(key, state, observations, config, greedy=False)

        after = acts(group.agent, key_act, state, run.agent)
        before = acts(pretrained.agent, key_before, first, first_config)
        batch = take_rows(rows, data_key(run), data, run.offline_corruption)
        batch = standardise_batch(batch, statistics)
        next_values = group.agent.state_value(state, batch.next_observations, run.agent)
        is_set = isinstance(run.agent, ExpansionConfig)
        targets = td_target(batch, next_values, run.agent.base if is_set else run.agent)
        damage = run.offline_corruption
        is_attacked = (damage.adversarial * damage.rate > 0).any()
        numbers = {
            "kurtosis": measures.excess_kurtosis(after).mean(),
            "kurtosis_before": measures.excess_kurtosis(before).mean(),
            # what is adversarial in the data is in no checkpoint
            "kurtosis_q_targets": jnp.where(
                is_attacked, jnp.nan, measures.excess_kurtosis(targets)
            ),
        }
        if is_set:
            selection = expansion.choose(
                pretrained.agent, key_select, state, observations, run.agent
            )
            numbers |= expansion.selection_metrics(selection, state, run.agent)
        counts = (measures.histogram(actions, edges) for actions in (before, after))
        return numbers, *counts

    found = jax.jit(jax.vmap(of_run))(
        group.states,
        group.statistics,
        group.runs,
        pretrained.states,
        pretrained.configs,
    )
    found = jax.device_get(found)
    measured = []
    for i, labels in enumerate(group.labels):
        numbers, before, after = sweep.take(found, i)
        numbers = {name: float(value) for name, value in numbers.items()}
        measured.append(Measured(labels, int(group.step[i]), numbers, before, after))
    return measured


def over_seeds(runs: list[Measured]) -> dict[tuple[str, ...], list[Measured]]:
    """Runs that differ in their seed alone, by their labels and step as text."""
    names = [name for name in inspection.label_names(runs) if name != "seed"]
    return sweep.group_by(
        runs, lambda r: (*inspection.label_cells(r.labels, names), str(r.step))
    )


def table(runs: list[Measured]) -> str:
    """Means over seeds, in Markdown."""
    names = [name for name in inspection.label_names(runs) if name != "seed"]
    columns = [c for c in COLUMNS if any(c in run.numbers for run in runs)]
    header = [*names, "step", "seeds", *(COLUMNS[c] for c in columns)]
    lines = [
        [*cells, str(len(members)), *(_cell(members, c) for c in columns)]
        for cells, members in over_seeds(runs).items()
    ]
    return (
        f"{results.markdown_table(header, lines)}\n\n"
        "Kurtosis is excess kurtosis, mean over action dimensions, of one sampled "
        "action at\neach state; before: of the policy that a run started from. "
        "±: standard error over seeds."
    )


def _cell(members: list[Measured], column: str) -> str:
    values = [run.numbers.get(column, np.nan) for run in members]
    if not np.isfinite(values).all():
        return ""
    mean, error, count = results.summarise(values)
    return f"{mean:.2f} ± {error:.2f}" if count > 1 else f"{mean:.2f}"


def write(out: Path, runs: list[Measured], text: str) -> None:
    """The table, the histograms and every run."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "edges": EDGES.tolist(),
        "runs": [
            {"labels": run.labels, "step": run.step}
            | {k: v if np.isfinite(v) else None for k, v in run.numbers.items()}
            | {"before": run.before.tolist(), "after": run.after.tolist()}
            for run in runs
        ],
    } | folders.provenance("experiments.measure")
    results.write_atomically(out / "measures.json", json.dumps(content) + "\n")
    results.write_atomically(out / "measures.md", text + "\n")
    plot(runs, out / "actions.png")


def plot(runs: list[Measured], path: Path) -> None:
    """Histograms of all seeds together: a row a method, a panel an action dimension."""
    groups = over_seeds(runs)
    columns = len(runs[0].after)
    size = (2.4 * columns, 1.7 * len(groups))
    figure, panels = plt.subplots(len(groups), columns, figsize=size, squeeze=False)
    for (cells, members), row in zip(groups.items(), panels, strict=True):
        before = sum(run.before for run in members)
        after = sum(run.after for run in members)
        for k, panel in enumerate(row):
            panel.stairs(before[k], EDGES, fill=True, color="0.75", label="before")
            panel.stairs(after[k], EDGES, color="C3", label="after")
            panel.set(yticks=[], xlim=(EDGES[0], EDGES[-1]))
        row[0].set_title(
            f"{' '.join(filter(None, cells[:-1]))}, step {cells[-1]}",
            loc="left",
            size=8,
        )
    for k, panel in enumerate(panels[-1]):
        panel.set_xlabel(f"action {k}")
    panels[0][-1].legend(fontsize=7)
    figure.tight_layout()
    temporary = path.with_name(path.name + ".tmp")
    figure.savefig(temporary, dpi=100, format="png")
    plt.close(figure)
    os.replace(temporary, path)


if __name__ == "__main__":
    app.run(main)
