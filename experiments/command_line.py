"""What the programs share: flags, errors of one line, the cache."""

import os
import runpy
import sys
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from experiments import settings

# Defined once, so that programs can be imported side by side.
CONFIG = config_flags.DEFINE_config_file("config", None, "File with the settings.")
OUT = flags.DEFINE_string("out", None, "Where results go.")


def read_config() -> ConfigDict:
    """What `--config` holds; ends the program where it names no file."""
    if CONFIG.value is None:
        raise app.UsageError("--config must name a file, see experiments/configs")
    file = flags.FLAGS["config"].config_filename
    if not Path(file).is_file():
        fail(f"--config is {file}, which is no file")
    return CONFIG.value


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, with one sentence instead of a traceback for a mistyped key."""
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        name_mistyped_setting(argv)
        fail(" ".join(str(error).split()))


def name_mistyped_setting(argv: list[str]) -> None:
    """Fails with the nearest key if an argument sets one that the config lacks."""
    words = [word.lstrip("-") for argument in argv for word in argument.split("=", 1)]
    file = words[words.index("config") + 1] if "config" in words[:-1] else ""
    if not Path(file).is_file():
        fail(f"--config is {file!r}, which is no file")
    config = runpy.run_path(file)["get_config"]()
    for word in words:
        if word.startswith("config."):
            try:
                settings.look_up(config, word.removeprefix("config."))
            except settings.ConfigError as mistyped:
                fail(mistyped)


def fail(problem: object) -> NoReturn:
    """Ends the program with one line and exit code 2."""
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(2)


def cache_compilations() -> None:
    """Keeps compiled programs between processes, unless the user chose a place."""
    if not jax.config.jax_compilation_cache_dir:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "rpex_jax"))
