"""A study in units of work, each for a process of its own, here or on another machine.

A unit is some of the pretrainings of one program and all that goes on from them. It
needs nothing of another unit, has a folder of its own, OUT/units/NAME, and goes on from
its own checkpoints when it is started again. Who reads a study's results reads those of
its units as one.
"""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

from experiments import folders
from experiments.groups import Plan, plan
from experiments.perturbations import is_calibrated
from experiments.settings import ConfigError
from experiments.study import Run
from rpex_jax import results


class Unit(NamedTuple):
    """A part of a study."""

    name: str  # of its folder
    pretrainings: list[Hashable]


def cut(out: Path, runs: list[Run], size: int | None) -> list[Unit]:
    """The units of a study, noted in its folder; none where it stays whole.

    Args:
      out: the study's folder.
      runs: its grid.
      size: pretrainings in a unit, at most; 0 is all of a program; None is as it was
        begun, or whole.

    Raises:
      ConfigError: the study was begun otherwise, or its runs need each other.
    """
    note = out / "units.json"
    begun = (out / "chunks.jsonl").exists() or note.exists()
    before = noted(out)
    if begun and size not in (None, before):
        how = "whole" if before is None else f"with --unit_size={before}"
        raise ConfigError(
            f"--unit_size is {size}, but {out} was begun {how}; go on in the same way, "
            "or take another folder"
        )
    if begun or size is None:
        return [] if before is None else units(runs, before)
    check_independent(runs)
    results.write_atomically(note, json.dumps({"size": size}))
    return units(runs, size)


def noted(out: Path) -> int | None:
    """The size of a study's units; None where it is whole.

    Raises:
      ConfigError: the note cannot be read.
    """
    note = out / "units.json"
    if not note.exists():
        return None
    size = folders.read_json(note).get("size")
    if not isinstance(size, int) or size < 0:
        raise ConfigError(
            f"{note} has the size {size!r}; it must be an integer, 0 or more"
        )
    return size


def check_independent(runs: list[Run]) -> None:
    """Raises a `ConfigError` where a run needs runs of other pretrainings."""
    for run in runs:
        expansion = run.config.expansion
        needs = {
            "expansion.members 'seeds'": (
                expansion.num_policies > 2 and expansion.members == "seeds"
            ),
            "curriculum.q_max 0": is_calibrated(run.config),
        }
        for setting, does in needs.items():
            if does:
                raise ConfigError(
                    f"{setting} makes runs need each other; such a study cannot be "
                    "cut into units, it must have --launcher=local and no --unit_size"
                )


def units(runs: list[Run], size: int) -> list[Unit]:
    """The pretrainings of each program, `size` at a time; 0 is all."""
    found = []
    for name, (_, keys) in plan(runs).offline.items():
        step = size or len(keys)
        for first in range(0, len(keys), step):
            part = keys[first : first + step]
            last = first + len(part) - 1
            found.append(Unit(f"{name}-runs-{first}-{last}", part))
    return found


def parts(out: Path, runs: list[Run]) -> list[tuple[Path, Plan]]:
    """The folders that hold a study's results, and the groups in each."""
    size = noted(out)
    if size is None:
        return [(out, plan(runs))]
    return [
        (folder_of(out, unit), plan(runs, unit.pretrainings))
        for unit in units(runs, size)
    ]


def folder_of(out: Path, unit: Unit) -> Path:
    """Where a unit of a study leaves its results."""
    return out / "units" / unit.name
