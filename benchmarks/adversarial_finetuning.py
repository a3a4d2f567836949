"""Tables 1 and 2 of adversarial fine-tuning, for several environments, and the claims.

    python -m benchmarks.adversarial_finetuning --preset=small \
      --tasks=Hopper-v4,HalfCheetah-v4 --out=runs/adversarial [--resume]

Each environment is a study in a folder of its own, which `experiments.sweep` could
have made; the folder above them gets one report of all.
"""

from pathlib import Path

from absl import logging
from ml_collections import ConfigDict

from benchmarks.study_flags import DATA, IGNORED, PRESET, TASKS, check_data, studies
from experiments import folders, report, sweep
from experiments.command_line import OUT, refuse_arguments, run
from experiments.configs.adversarial import tables


def main(argv: list[str]) -> None:
    refuse_arguments(argv, ignored=IGNORED)
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file it touches
    out = Path(OUT.value or "runs/adversarial")
    folders.check_out("--out", out)
    configs = make_configs(PRESET.value, TASKS.value or ["Hopper-v4"], DATA.value)
    check_data(configs)
    for config in configs:
        folder = out / config.env
        sweep.run_study(config, folder, resume=sweep.RESUME.value)
    print(report.write(out))


def make_configs(preset: str, tasks: list[str], data: list[str]) -> list[ConfigDict]:
    """A study for each task, checked; raises as `studies`."""
    return studies(tables.get_config, preset, tasks, data)


if __name__ == "__main__":
    run(main)
