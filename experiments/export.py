"""Shows any results folder, finished or still running, in TensorBoard or W&B.

    python -m experiments.export runs/quickstart --sink=tensorboard,wandb

The same curves as of a sweep with `--sink`, from its files alone. Once more brings them
up to date.
"""

import json
from pathlib import Path

from absl import app

from experiments import folders, sinks
from experiments.command_line import fail
from experiments.settings import ConfigError


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("give one results folder")
    if not sinks.SINK.value:
        raise app.UsageError(f"--sink must name some of {', '.join(sinks.SINKS)}")
    try:
        export(Path(argv[1]), sinks.SINK.value)
    except (ConfigError, OSError) as error:
        fail(error)


def export(out: Path, names: list[str]) -> None:
    """Hands all rows of a results folder to sinks.

    Args:
      out: a sweep's folder, of this version or an older one.
      names: of the sinks.

    Raises:
      ConfigError: it is no such folder, or a sink cannot work here.
    """
    saved = out / "config.json"
    config = json.loads(saved.read_text()) if saved.is_file() else {}
    if "sweep" not in config:
        raise ConfigError(f"{out} must be the folder of a sweep, with its config.json")
    groups = sinks.by_group(folders.read_rows(out))
    for sink in sinks.open_sinks(names, out).values():
        for rows in groups:
            sinks.write_all(sink, sinks.curves(rows, config))
        sink.close()


if __name__ == "__main__":
    app.run(main)
