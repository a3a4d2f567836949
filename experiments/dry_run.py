"""What a study would run, without running it: groups, units, programs, bytes, time."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from experiments import study_cost, units
from experiments.groups import Plan, plan
from experiments.launchers import Launcher
from experiments.worker import Checked, check_study
from rpex_jax import results


def describe(
    config: ConfigDict, out: Path, unit_size: int | None, launcher: Launcher
) -> str:
    """The report, in Markdown.

    Args:
      config: the study's.
      out: where it would leave its results; nothing is written.
      unit_size: of `units.cut`.
      launcher: who would run the units.

    Raises:
      ConfigError, DatasetError, AttackSetError: as the study itself would.
    """
    checked = check_study(config)
    parts = [("all", plan(checked.runs))]
    how = f"One process, on {jax.local_device_count()} devices."
    if unit_size is None:
        unit_size = units.noted(out)
    if unit_size is not None:
        units.check_independent(checked.runs)
        of_study = units.units(checked.runs, unit_size)
        parts = [(u.name, plan(checked.runs, u.pretrainings)) for u in of_study]
        how = f"{len(of_study)} units, {launcher.describe(out, of_study)}"
    header = ["unit", "group", "runs", "steps", "MiB of state"]
    rows = [[name, *row] for name, part in parts for row in groups(checked, part)]
    table = results.markdown_table(header, rows)
    return f"{table}\n\n{study_cost.estimate([config])}\n\n{how}"


def groups(checked: Checked, part: Plan) -> list[list[str]]:
    """A line for each group of a part of a study, which is a program to compile."""
    data = study_cost.random_data(checked.env.spec)
    found = []
    for name, (program, keys) in part.offline.items():
        members = [part.starting[key][0] for key in keys]
        sample = study_cost.offline_sample(checked.env, members, data)
        found.append((f"{name}: {program.base}", members, program.steps, sample))
    for name, (program, members) in part.online.items():
        methods = ", ".join(dict.fromkeys(run.labels["method"] for run in members))
        sample = study_cost.online_sample(checked.env, members, data)
        what = f"{name}: {program.base} {methods}"
        found.append((what, members, program.steps, sample))
    return [
        [what, str(len(members)), f"{steps:,}", f"{sample.num_bytes / 2**20:.3g}"]
        for what, members, steps, sample in found
    ]
