"""What one process does: a study, or a unit of it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from absl import logging
from ml_collections import ConfigDict

from experiments import (
    attack_sets,
    conditions,
    data_attacks,
    folders,
    policy_sets,
    study,
    study_inputs,
    units,
)
from experiments.command_line import cache_compilations
from experiments.groups import Plan, offline_group, online_group, plan
from experiments.programs import pretraining_key
from experiments.progress import progress_bar
from experiments.study import Run
from experiments.training import train
from experiments.units import Unit
from rpex_jax import sweep
from rpex_jax.attacks.adversarial_corruption import Attacker
from rpex_jax.data.dataset import Dataset
from rpex_jax.data.rewards import RewardUnit
from rpex_jax.envs import Env
from rpex_jax.training.offline import OfflineData, put_on_device


class Checked(NamedTuple):
    """A study with all that it names, found to fit together."""

    config: ConfigDict
    runs: list[Run]
    env: Env
    dataset: Dataset
    reward_unit: RewardUnit
    attacker: Attacker | None


def check_study(config: ConfigDict) -> Checked:
    """All that can be known to be wrong before anything is compiled.

    Raises:
      ConfigError, DatasetError, AttackSetError, CheckpointError: at the first that is.
    """
    runs = study.expand_grid(config)
    env = study_inputs.make_env(config)
    dataset = study_inputs.load_dataset(config)
    study_inputs.check_widths(env, dataset, config.data.source)
    study_inputs.check_prefill(runs, len(dataset.transitions.rewards))
    unit = study_inputs.reward_unit(config, dataset)
    policy_sets.check(runs)
    attack_sets.check_given(env, runs)
    attack_sets.check_calibrated(runs)
    attacker = data_attacks.load_attacker(runs, env)
    return Checked(config, runs, env, dataset, unit, attacker)


def run_unit(out: Path, unit: Unit, check: Callable[[], None] = lambda: None) -> None:
    """Trains a unit of a study, or what is left of it; for a process of its own.

    Args:
      out: the study's folder, which has been prepared.
      unit: of the study.
      check: as of `training.train`.

    Raises:
      ConfigError: another process is at work on this unit.
    """
    logging.set_verbosity(logging.ERROR)
    cache_compilations()
    checked = check_study(folders.read(out))
    folder = units.folder_of(out, unit)
    part = plan(checked.runs, unit.pretrainings)
    with folders.locked(folder):
        train_part(checked, folder, part, data_of(checked, out), check)


def data_of(checked: Checked, out: Path) -> OfflineData:
    """The data set on the device, with what adversarial damage needs of `out`."""
    data = put_on_device(checked.dataset, checked.reward_unit)
    return data_attacks.with_attacks(data, out, checked.runs, checked.attacker)


def train_part(
    checked: Checked,
    out: Path,
    part: Plan,
    data: OfflineData,
    check: Callable[[], None],
    log: Callable[[list[dict]], None] = lambda rows: None,
) -> None:
    """Pretraining, attacks on its policies, then all that goes on online.

    Args:
      checked: the study.
      out: the folder of the part.
      part: the groups that are trained.
      data: the clean data set.
      check: as of `training.train`.
      log: as of `training.train`.
    """
    config, runs, env = checked.config, checked.runs, checked.env
    numbers = part.numbers
    pretrained = {}
    total = sum(program.steps * len(keys) for program, keys in part.offline.values())
    with progress_bar("offline", total, "update") as bar:
        for name, (program, keys) in part.offline.items():
            group = offline_group(
                name,
                program,
                [part.starting[key] for key in keys],
                [numbers[key] for key in keys],
                env,
                data,
            )
            states = train(group, out, env, config.evaluation.every, bar, check, log)
            pretrained |= {key: sweep.take(states, i) for i, key in enumerate(keys)}

    started = [run for run in runs if pretraining_key(run) in part.starting]
    attack_sets.find(out, env, started, numbers, pretrained)
    if len(config.evaluation.conditions) > 1:
        conditions.evaluate_pretrained(out, env, started, numbers, pretrained)

    total = sum(program.steps * len(runs) for program, runs in part.online.values())
    # A linear curriculum may wait for what the adaptive ones do.
    order = sorted(part.online.items(), key=lambda item: item[1][0].calibrated)
    trained_together = {name: keys for name, (_, keys) in part.offline.items()}
    with progress_bar("online", total, "step") as bar:
        for name, (program, of_program) in order:
            keys = [pretraining_key(run) for run in of_program]
            group = online_group(
                name,
                program,
                of_program,
                [numbers[key] for key in keys],
                sweep.stack([pretrained[key] for key in keys]),
                policy_sets.gather(out, of_program, runs, pretrained, trained_together),
                env,
                data,
                out,
            )
            train(group, out, env, config.evaluation.every, bar, check, log)
