"""Shows any results folder, finished or still running, in TensorBoard or W&B.

    python -m experiments.export runs/quickstart --sink=tensorboard,wandb

The same curves as of a sweep with `--sink`, from its files alone. Once more brings them
up to date.
"""

import contextlib
from pathlib import Path

from experiments import folders, sinks
from experiments.command_line import run, the_folder
from experiments.settings import ConfigError


def main(argv: list[str]) -> None:
    export(the_folder(argv), sinks.SINK.value)


def export(out: Path, names: list[str]) -> None:
    """Hands all rows of a results folder to sinks.

    Args:
      out: a sweep's folder, of this version or an older one.
      names: of the sinks.

    Raises:
      ConfigError: it is no such folder, or a sink cannot work here.
    """
    saved = out / "config.json"
    if not saved.is_file():
        raise ConfigError(f"{out} has no config.json; it must be the folder of a sweep")
    config = folders.read_json(saved)
    if "sweep" not in config:
        raise ConfigError(
            f"{saved} is not of a sweep; it must be the folder of a sweep"
        )
    if not names:
        raise ConfigError(f"--sink is empty; it must name of {', '.join(sinks.SINKS)}")
    groups = sinks.by_group(folders.read_rows(out))
    with contextlib.ExitStack() as stack:
        opened = sinks.open_sinks(names, out).values()
        for sink in opened:
            stack.enter_context(contextlib.closing(sink))
        for sink in opened:
            for rows in groups:
                sinks.write_all(sink, sinks.curves(rows, config))


if __name__ == "__main__":
    run(main)
