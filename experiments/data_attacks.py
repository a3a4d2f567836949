"""Adversarial damage of a study's data: whose values fall, and the rows attacked.

The attacker is an EDAC agent that another study trained, on clean data:

    python -m experiments.sweep --config=experiments/configs/attacker.py --out=OUT

What its attack does to the rows that any run has hit is found once, before anything
trains, and kept in OUT/attacks/rows.npz, so that a study that goes on does not search
again.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import policies
from experiments.corruptions import PHASES, damages
from experiments.progress import progress_bar
from experiments.run_configs import offline_run, online_run
from experiments.settings import ConfigError
from experiments.study import Run
from rpex_jax import sweep
from rpex_jax.attacks import adversarial_corruption
from rpex_jax.attacks.adversarial_corruption import OFFLINE, Attacker
from rpex_jax.attacks.corruption import ELEMENTS, Shifts, hits, row_keys
from rpex_jax.envs import Env
from rpex_jax.results import whole_file
from rpex_jax.training.offline import AttackedRows, OfflineData, data_key
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Array

BLOCK = 4096  # rows that are attacked at once
# Rewards are turned round, which takes no search.
SEARCHED = ("observation", "action", "dynamics")


def scales(runs: list[Run], phase: str) -> dict[str, float]:
    """The bound of each element that some run has attacked in a phase.

    Raises:
      ConfigError: offline, runs have different bounds, but share one table of rows.
    """
    found: dict[str, float] = {}
    for run in runs:
        name = run.labels["corruption"]
        for damage in damages(run.config, name, phase):
            if not damage.adversarial or not damage.rate:
                continue
            if damage.element not in SEARCHED:
                continue
            first = found.setdefault(damage.element, damage.scale)
            if phase == "offline" and first != damage.scale:
                raise ConfigError(
                    f"corruptions.{name}.{phase} attacks {damage.element} within "
                    f"{damage.scale:g}, another run within {first:g}; the runs of a "
                    "study must agree"
                )
    return found


def load_attacker(runs: list[Run], env: Env) -> Attacker | None:
    """Whose values the study's attacks lower; None where there are none.

    Raises:
      ConfigError: `attacker` names no EDAC agent of this environment, but is needed.
    """
    if not any(scales(runs, phase) for phase in PHASES):
        return None
    place = runs[0].config.attacker
    if not place:
        raise ConfigError(
            "attacker is empty, but a corruption is adversarial; set it to the folder "
            "of an EDAC agent, which experiments/configs/attacker.py trains"
        )
    world, groups = policies.load(Path(place), "attacker")
    group = next((g for g in groups if g.labels[0].get("base") == "edac"), None)
    if group is None:
        raise ConfigError(f"attacker is {place}, which has no EDAC agent")
    if world.spec != env.spec:
        raise ConfigError(
            f"attacker is {place}, an agent for {world.name}; it must be for {env.name}"
        )
    state, statistics, run = sweep.take((group.states, group.statistics, group.runs), 0)
    return Attacker(state, statistics, run.agent)


def with_attacks(
    data: OfflineData, out: Path, runs: list[Run], attacker: Attacker | None
) -> OfflineData:
    """The data set with all that adversarial damage needs; searches if it has to."""
    if attacker is None:
        return data
    bounds = scales(runs, "offline")
    if bounds:
        path = out / "attacks" / "rows.npz"
        if not path.exists():
            _save(path, _search(data, runs, attacker, bounds))
        data = data._replace(attacked=_load(path))
    return data._replace(attacker=attacker if scales(runs, "online") else None)


def _search(
    data: OfflineData, runs: list[Run], attacker: Attacker, bounds: dict[str, float]
) -> AttackedRows:
    """The attack on all rows that are hit in any run, block by block."""
    rows = np.flatnonzero(_is_hit(data, runs))
    scale = jnp.array([bounds.get(element, 0.0) for element in ELEMENTS])

    @jax.jit
    def attack(number: Array, of_block: Array) -> Shifts:
        return adversarial_corruption.attack(
            jax.random.fold_in(jax.random.key(0), number),
            jax.tree.map(lambda x: x[of_block], data.transitions),
            attacker,
            scale,
            data.deviations,
            OFFLINE,
            tuple(bounds),
        )

    blocks, size = [], min(BLOCK, len(rows))
    with progress_bar("attack on data", len(rows), "row") as bar:
        for number, first in enumerate(range(0, len(rows), size)):
            of_block = rows[first : first + size]
            padded = np.resize(of_block, size)  # one program for the last one too
            blocks.append(jax.device_get(attack(number, padded)))
            bar.update(len(of_block))
    place = np.zeros(len(data.transitions.rewards), np.int32)
    place[rows] = np.arange(len(rows))
    shifts = jax.tree.map(lambda *x: np.concatenate(x)[: len(rows)], *blocks)
    return AttackedRows(place, shifts)


def _is_hit(data: OfflineData, runs: list[Run]) -> np.ndarray:
    """Which rows some run has attacked, before or online, [N]."""
    told = [offline_run(run) for run in runs] + [online_run(run) for run in runs]

    def of_run(run: RunConfig) -> Array:
        keys = row_keys(data_key(run, run.corrupt_again), rows)
        hit = jax.vmap(hits, in_axes=(0, None, None))(
            keys, run.offline_corruption, widths
        )
        return (hit & (run.offline_corruption.adversarial > 0)).any(1)

    rows = jnp.arange(len(data.transitions.rewards))
    widths = tuple(x.shape[-1] for x in data.deviations)
    told = [run.replace(agent=None, perturbation=None) for run in told]
    is_hit = jax.jit(lambda runs: jax.lax.map(of_run, runs).any(0))(sweep.stack(told))
    return np.asarray(is_hit.at[0].set(True))  # a table holds one row at least


def _save(path: Path, attacked: AttackedRows) -> None:
    path.parent.mkdir(exist_ok=True)
    with whole_file(path) as file:
        np.savez(file, place=attacked.place, **attacked.shifts._asdict())


def _load(path: Path) -> AttackedRows:
    try:
        with np.load(path) as arrays:
            shifts = Shifts(*(jnp.asarray(arrays[name]) for name in Shifts._fields))
            return AttackedRows(jnp.asarray(arrays["place"]), shifts)
    except Exception as error:  # NumPy raises a dozen types on damaged files
        raise ConfigError(
            f"{path} cannot be read ({' '.join(str(error).split())}); remove it to "
            "have the attack made again"
        ) from error
