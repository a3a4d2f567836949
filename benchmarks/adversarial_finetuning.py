"""Tables 1 and 2 of adversarial fine-tuning, for several environments, and the claims.

    python -m benchmarks.adversarial_finetuning --preset=small \
      --tasks=Hopper-v4,HalfCheetah-v4 --out=runs/adversarial [--resume]

Each environment is a study in a folder of its own, which `experiments.sweep` could
have made; the folder above them gets one report of all.
"""

from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict

from benchmarks.study_flags import DATA, PRESET, TASKS, studies
from experiments import report, sweep
from experiments.command_line import OUT, fail
from experiments.configs.adversarial import tables
from experiments.settings import ConfigError
from rpex_jax.data.attack_sets import AttackSetError
from rpex_jax.data.dataset import DatasetError


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file it touches
    out = Path(OUT.value or "runs/adversarial")
    try:
        # All of them first: a mistake in the last must not show after hours.
        configs = make_configs(PRESET.value, TASKS.value or ["Hopper-v4"], DATA.value)
        for config in configs:
            folder = out / config.env
            sweep.run_study(config, folder, resume=flags.FLAGS.resume)
        print(report.write(out))
    except (ConfigError, DatasetError, AttackSetError) as error:
        fail(error)


def make_configs(preset: str, tasks: list[str], data: list[str]) -> list[ConfigDict]:
    """A study for each task, checked; raises as `studies`."""
    return studies(tables.get_config, preset, tasks, data)


if __name__ == "__main__":
    app.run(main)
