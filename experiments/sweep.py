"""Runs a study: pretraining, then every online method, many runs in each program.

    python -m experiments.sweep --config=experiments/configs/quickstart.py \
      --config.sweep.seed='(0, 1, 2)' --out=runs/quickstart [--resume]
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict

from experiments import (
    attack_sets,
    conditions,
    data_attacks,
    folders,
    interruption,
    policy_sets,
    report,
    settings,
    sinks,
    study,
)
from experiments.command_line import (
    OUT,
    cache_compilations,
    fail,
    parse_flags,
    read_config,
)
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
from rpex_jax.data import sources
from rpex_jax.data.attack_sets import AttackSetError
from rpex_jax.data.dataset import DatasetError
from rpex_jax.envs import Env
from rpex_jax.training.offline import OfflineData, put_on_device

_RESUME = flags.DEFINE_bool("resume", False, "Go on from the folder's checkpoints.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    config = read_config()
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file it touches
    study_name = Path(flags.FLAGS["config"].config_filename).stem
    out = Path(OUT.value or f"runs/{study_name}")
    with errors_in_a_line(out):
        run_study(config, out, resume=_RESUME.value, sink_names=sinks.SINK.value)


@contextlib.contextmanager
def errors_in_a_line(out: Path) -> Iterator[None]:
    """Ends the program with a sentence and an exit code, where a user can do something.

    Wrong settings and files end it with 2, a signal with 128 and its number.
    """
    try:
        yield
    except (settings.ConfigError, DatasetError, AttackSetError) as error:
        fail(error)
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


def run_study(
    config: ConfigDict, out: Path, *, resume: bool, sink_names: Sequence[str] = ()
) -> None:
    """Trains all runs of a study and leaves its results folder.

    Args:
      config: the study's.
      out: its folder.
      resume: go on with what is there.
      sink_names: who else gets the curves, of `sinks.SINKS`.

    Raises:
      ConfigError, DatasetError, AttackSetError: before anything is compiled.
      Interrupted: a signal came; the folder is at a whole chunk.
    """
    followers = sinks.open_sinks(sink_names, out)
    runs = study.expand_grid(config)
    env = study.make_env(config)
    dataset = sources.load(
        config.data.source,
        action_range=tuple(config.data.action_range) or None,
        drop_observation_columns=tuple(config.data.drop_observation_columns),
    )
    study.check_widths(env, dataset, config.data.source)
    study.check_prefill(runs, len(dataset.transitions.rewards))
    unit = study.reward_unit(config, dataset)
    policy_sets.check(runs)
    attack_sets.check_given(env, runs)
    attacker = data_attacks.load_attacker(runs, env)
    folders.prepare(out, config, resume)
    if config.note:
        print(f"Note: {config.note}.")
    cache_compilations()
    with (
        folders.locked(out),
        interruption.deferred() as check,
        sinks.followed(followers, config) as log,
    ):
        data = put_on_device(dataset, unit)
        data = data_attacks.with_attacks(data, out, runs, attacker)
        train_study(config, out, env, runs, data, check, log)
        print(report.write(out))


def train_study(
    config: ConfigDict,
    out: Path,
    env: Env,
    runs: list[Run],
    data: OfflineData,
    check: Callable[[], None],
    log: Callable[[list[dict]], None],
) -> None:
    """Pretraining, attacks on its policies, then all that goes on online.

    Args:
      config: the study's.
      out: its folder.
      env: where it trains.
      runs: its grid.
      data: the clean data set.
      check: as of `training.train`.
      log: as of `training.train`.
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
            states = train(group, out, env, config.evaluation.every, bar, check, log)
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
            train(group, out, env, config.evaluation.every, bar, check, log)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
