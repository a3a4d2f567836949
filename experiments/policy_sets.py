"""The frozen members of policy sets, where a set holds more than two policies.

Of `expansion.num_policies`, K, all but the last are frozen. `expansion.members` says
which they are: "snapshots" of the run's pretraining, evenly apart, its end the last; or
the pretrained policies of several "seeds", the run's own first.
"""

import functools
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.programs import pretraining_key
from experiments.settings import ConfigError
from experiments.study import Run
from rpex_jax import checkpoints, sweep
from rpex_jax.methods import METHODS
from rpex_jax.training.offline import OfflineState
from rpex_jax.transfer import restandardised

SNAPSHOTS = "snapshots"  # the folder of agents that are kept, beside `checkpoints`


def check(runs: list[Run]) -> None:
    """Raises a `ConfigError` where there are fewer policies than a set is to keep."""
    for run in filter(_has_more, runs):
        count, offline = run.config.expansion.num_policies, run.config.offline
        if run.config.expansion.members == "seeds":
            seeds = {other.pretraining["seed"] for other in _siblings(run, runs)}
            there, of = len(seeds), "pretrainings of seeds"
        else:
            there, of = offline.steps // offline.chunk, "chunks of pretraining"
        if count - 1 > there:
            raise ConfigError(
                f"expansion.num_policies is {count}; with expansion.members "
                f"{run.config.expansion.members!r} it must be at most {there + 1}, one "
                f"more than there are {of}"
            )


def snapshot_chunks(runs: Iterable[Run]) -> frozenset[int]:
    """The chunks of pretraining after which a policy must be kept, but for the last."""
    return frozenset(
        chunk
        for run in filter(_has_more, runs)
        if run.config.expansion.members == "snapshots"
        for chunk in _chunks(run)[:-1]
    )


def save_snapshot(out: Path, group: str, chunk: int, kept: Any) -> None:
    """Keeps policies or agents of a group, [runs, ...], as they are now."""
    checkpoints.save(out / SNAPSHOTS / group, chunk, kept, keep=None)


def gather(
    out: Path,
    members: list[Run],
    runs: list[Run],
    pretrained: dict[Hashable, OfflineState],
    groups: dict[str, list[Hashable]],
) -> Any:
    """The frozen policies of sets of one program.

    Args:
      out: the study's folder.
      members: the runs of the program.
      runs: all runs of the study.
      pretrained: by pretraining.
      groups: pretrainings that were trained together, in order, by checkpoint name.

    Returns:
      Policy parameters, [runs, K - 1, ...]; None if the pretrained policy is alone.
    """
    if not _has_more(members[0]):
        return None

    @functools.cache
    def snapshot(name: str, chunk: int) -> Any:
        like = sweep.stack([pretrained[key].agent.actor for key in groups[name]])
        return checkpoints.restore(out / SNAPSHOTS / name, chunk, like)

    found = []
    for run in members:
        if run.config.expansion.members == "seeds":
            of_run = _of_seeds(run, runs, pretrained)
        else:
            of_run = _of_snapshots(run, snapshot, pretrained, groups)
        found.append(sweep.stack(of_run))
    return sweep.stack(found)


def repeated(policy: Any, num_policies: int) -> Any:
    """As many frozen members as a set has, all alike: for shapes, and for timings."""
    return jax.tree.map(lambda x: jnp.stack([x] * (num_policies - 1)), policy)


def _of_seeds(
    run: Run, runs: list[Run], pretrained: dict[Hashable, OfflineState]
) -> list[Any]:
    own = pretrained[pretraining_key(run)]
    alike = _siblings(run, runs)[: run.config.expansion.num_policies - 1]
    others = [pretrained[pretraining_key(other)] for other in alike]
    return [
        restandardised(other.agent.actor, other.statistics, own.statistics)
        for other in others
    ]


def _of_snapshots(
    run: Run,
    snapshot: Callable[[str, int], Any],
    pretrained: dict[Hashable, OfflineState],
    groups: dict[str, list[Hashable]],
) -> list[Any]:
    key = pretraining_key(run)
    name = next(name for name, keys in groups.items() if key in keys)
    place = groups[name].index(key)
    earlier = [sweep.take(snapshot(name, c), place) for c in _chunks(run)[:-1]]
    return [*earlier, pretrained[key].agent.actor]


def _has_more(run: Run) -> bool:
    expands = METHODS[run.labels["method"]].expands
    return expands and run.config.expansion.num_policies > 2


def _chunks(run: Run) -> list[int]:
    """Of pretraining, evenly apart; after the last it ends."""
    count = run.config.expansion.num_policies - 1
    chunks = run.config.offline.steps // run.config.offline.chunk
    return [-(-(place + 1) * chunks // count) for place in range(count)]


def _siblings(run: Run, runs: list[Run]) -> list[Run]:
    """The runs that differ from it in their seed alone, from its own on."""

    def but_seed(labels):
        return {name: value for name, value in labels.items() if name != "seed"}

    alike = [o for o in runs if but_seed(o.labels) == but_seed(run.labels)]
    place = next(i for i, o in enumerate(alike) if o.labels == run.labels)
    return alike[place:] + alike[:place]
