"""Runs a study: pretraining, then every online method, many runs in each program.

    python -m experiments.sweep --config=experiments/configs/quickstart.py \
      --config.sweep.seed='(0, 1, 2)' --out=runs/quickstart [--resume]

On many machines a study is cut into units, which Ray or Slurm runs:

    python -m experiments.sweep --config=... --out=... --launcher=slurm --unit_size=8 \
      --resources=timeout_min=1440,gpus_per_node=1,slurm_partition=gpu [--dry_run]
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from experiments import (
    dry_run,
    folders,
    interruption,
    overrides,
    report,
    settings,
    sinks,
    units,
)
from experiments.command_line import (
    OUT,
    cache_compilations,
    read_config,
    refuse_arguments,
    run,
)
from experiments.configs.default import default_config
from experiments.groups import plan
from experiments.launchers import LAUNCHERS, Launcher, parse_resources
from experiments.worker import check_study, data_of, train_part

RESUME = flags.DEFINE_bool("resume", False, "Go on from the folder's checkpoints.")
LAUNCHER = flags.DEFINE_enum(
    "launcher", "local", [*LAUNCHERS], "Who runs the units of the study."
)
UNIT_SIZE = flags.DEFINE_integer(
    "unit_size",
    None,
    "Pretrainings in a unit of work, with all that goes on from them; 0 is all of a "
    "program, which is what other launchers than local take.",
    lower_bound=0,
)
RESOURCES = flags.DEFINE_list(
    "resources", [], "What a unit gets, as the launcher's library calls it: key=value."
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Say what would run, and run nothing.")


def main(argv: list[str]) -> None:
    refuse_arguments(argv, takes_config=True)
    config = read_config(default_config())
    overrides.check(config, config_flags.get_override_values(flags.FLAGS["config"]))
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file it touches
    study_name = Path(flags.FLAGS["config"].config_filename).stem
    out = Path(OUT.value or f"runs/{study_name}")
    launch = LAUNCHERS[LAUNCHER.value](parse_resources(RESOURCES.value))
    size = UNIT_SIZE.value
    if LAUNCHER.value != "local" and size is None and units.noted(out) is None:
        size = 0
    if DRY_RUN.value:
        print(dry_run.describe(config, out, size, launch))
    else:
        run_study(
            config,
            out,
            resume=RESUME.value,
            unit_size=size,
            launch=launch,
            sink_names=sinks.SINK.value,
        )


def run_study(
    config: ConfigDict,
    out: Path,
    *,
    resume: bool,
    unit_size: int | None = None,
    launch: Launcher | None = None,
    sink_names: Sequence[str] = (),
) -> None:
    """Trains all runs of a study and leaves its results folder.

    Args:
      config: the study's.
      out: its folder.
      resume: from the folder's checkpoints.
      unit_size: of `units.cut`.
      launch: who runs the units; None is this process.
      sink_names: who else gets the curves of a whole study, of `sinks.SINKS`.

    Raises:
      ConfigError, DatasetError, AttackSetError, CheckpointError: before anything is
        compiled.
      Interrupted: a signal came; `--resume` goes on.
    """
    followers = sinks.open_sinks(sink_names, out)
    checked = check_study(config)
    if unit_size is not None or units.noted(out) is not None:
        units.check_independent(checked.runs)
        if sink_names:
            raise settings.ConfigError(
                f"--sink is {','.join(sink_names)}, which follows a whole study; for "
                "one in units use experiments.export"
            )
    launch = launch or LAUNCHERS["local"]({})
    with (
        folders.locked(out),
        interruption.deferred(launch.on_signal) as check,
        sinks.followed(followers, config) as log,
    ):
        folders.prepare(out, config, resume)
        if config.note:
            print(f"Note: {config.note}.")
        cache_compilations()
        if of_study := units.cut(out, checked.runs, unit_size):
            if checked.attacker is not None:
                data_of(checked, out)  # leaves the attacked rows, which all units read
            launch(out, of_study, check)
        else:
            part = plan(checked.runs)
            train_part(checked, out, part, data_of(checked, out), check, log)
        print(report.write(out))


if __name__ == "__main__":
    run(main)
