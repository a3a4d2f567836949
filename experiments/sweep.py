"""Runs a study: pretraining, then every online method, many runs in each program.

    python -m experiments.sweep --config=experiments/configs/quickstart.py \
      --config.sweep.seed='(0, 1, 2)' --out=runs/quickstart [--resume]
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict

from experiments import (
    attack_sets,
    conditions,
    data_attacks,
    folders,
    interruption,
    policy_sets,
    report,
    study,
)
from experiments.command_line import (
    OUT,
    cache_compilations,
    fail,
    read_config,
    refuse_arguments,
    run,
)
from experiments.configs.default import default_config
from experiments.groups import (
    offline_group,
    offline_programs,
    online_group,
    online_programs,
)
from experiments.progress import progress_bar
from experiments.study import Run, by_pretraining, pretraining_key
from experiments.training import train
from rpex_jax import sweep
from rpex_jax.envs import Env
from rpex_jax.training.offline import OfflineData, put_on_device

_RESUME = flags.DEFINE_bool("resume", False, "Go on from the folder's checkpoints.")


def main(argv: list[str]) -> None:
    refuse_arguments(argv)
    config = read_config(default_config())
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file it touches
    study_name = Path(flags.FLAGS["config"].config_filename).stem
    out = Path(OUT.value or f"runs/{study_name}")
    with errors_in_a_line(out):
        run_study(config, out, resume=_RESUME.value)


@contextlib.contextmanager
def errors_in_a_line(out: Path) -> Iterator[None]:
    """Ends the program with a sentence and an exit code, where a user can go on.

    What cannot be written ends it with 2, a signal with 128 and its number.
    """
    try:
        yield
    except OSError as error:  # a full disk, a folder that cannot be written
        place = error.filename or out
        fail(f"{place}: {error.strerror}; what was saved is whole, --resume goes on")
    except interruption.Interrupted as stopped:
        print(
            f"{stopped}: stopped after a whole chunk; the same command with --resume "
            "goes on",
            file=sys.stderr,
        )
        sys.exit(stopped.exit_code)


def run_study(config: ConfigDict, out: Path, *, resume: bool) -> None:
    """Trains all runs of a study and leaves its results folder.

    Raises:
      ConfigError, DatasetError, AttackSetError, CheckpointError: before anything is
        compiled.
      Interrupted: a signal came; the folder is at a whole chunk.
    """
    runs = study.expand_grid(config)
    env = study.make_env(config)
    dataset = study.load_dataset(config)
    study.check_widths(env, dataset, config.data.source)
    study.check_prefill(runs, len(dataset.transitions.rewards))
    unit = study.reward_unit(config, dataset)
    policy_sets.check(runs)
    attack_sets.check_given(env, runs)
    attack_sets.check_calibrated(runs)
    attacker = data_attacks.load_attacker(runs, env)
    folders.prepare(out, config, resume)
    if config.note:
        print(f"Note: {config.note}.")
    cache_compilations()
    with folders.locked(out), interruption.deferred() as check:
        data = put_on_device(dataset, unit)
        data = data_attacks.with_attacks(data, out, runs, attacker)
        train_study(config, out, env, runs, data, check)
        print(report.write(out))


def train_study(
    config: ConfigDict,
    out: Path,
    env: Env,
    runs: list[Run],
    data: OfflineData,
    check: Callable[[], None],
) -> None:
    """Pretraining, attacks on its policies, then all that goes on online.

    Args:
      config: the study's.
      out: its folder.
      env: where it trains.
      runs: its grid.
      data: the clean data set.
      check: as of `training.train`.
    """
    # Methods that start from the same pretraining share it.
    starting = by_pretraining(runs)
    numbers = {key: number for number, key in enumerate(starting)}
    pretrained, trained_together = {}, {}
    groups = offline_programs(starting)
    total = sum(program.steps * len(keys) for program, keys in groups.items())
    with progress_bar("offline", total, "update") as bar:
        for number, (program, keys) in enumerate(groups.items()):
            group = offline_group(
                f"offline-{number}",
                program,
                [starting[key] for key in keys],
                [numbers[key] for key in keys],
                env,
                data,
            )
            trained_together[group.name] = keys
            states = train(group, out, env, config.evaluation.every, bar, check)
            pretrained |= {key: sweep.take(states, i) for i, key in enumerate(keys)}

    attack_sets.find(out, env, runs, numbers, pretrained)
    if len(config.evaluation.conditions) > 1:
        conditions.evaluate_pretrained(out, env, runs, numbers, pretrained)

    groups = online_programs(runs)
    total = sum(program.steps * len(runs) for program, runs in groups.items())
    # A linear curriculum may wait for what the adaptive ones do.
    order = sorted(enumerate(groups.items()), key=lambda item: item[1][0].calibrated)
    with progress_bar("online", total, "step") as bar:
        for number, (program, of_program) in order:
            keys = [pretraining_key(run) for run in of_program]
            group = online_group(
                f"online-{number}",
                program,
                of_program,
                [numbers[key] for key in keys],
                sweep.stack([pretrained[key] for key in keys]),
                policy_sets.gather(out, of_program, runs, pretrained, trained_together),
                env,
                data,
                out,
            )
            train(group, out, env, config.evaluation.every, bar, check)


if __name__ == "__main__":
    run(main)
