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
    file = flags.FLAGS["config"].config_filename.partition(":")[0]
    if not Path(file).is_file():
        fail(f"--config is {file}, which is no file")
    return CONFIG.value


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, with one sentence instead of a traceback for a mistyped key."""
    words = [word.lstrip("-") for argument in argv for word in argument.split("=", 1)]
    given = words[words.index("config") + 1] if "config" in words[:-1] else ""
    config = default_of(given)
    try:
        return app.parse_flags_with_usage(argv)
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        if config is None:
            fail(f"--config is {given!r}, which is no file")
        name_mistyped_setting(words, config)
        fail(" ".join(str(error).split()))


def default_of(given: str) -> ConfigDict | None:
    """The config of `file.py` or `file.py:argument`; None if there is no file.

    It ends the program where the file refuses the argument.
    """
    file, *argument = given.split(":", 1)
    if not Path(file).is_file():
        return None
    try:
        return runpy.run_path(file)["get_config"](*argument)
    except (settings.ConfigError, TypeError) as error:  # takes no such, or none
        fail(f"--config is {given}: {error}")


def name_mistyped_setting(words: list[str], config: ConfigDict) -> None:
    """Fails with the nearest key if a word sets one that the config lacks."""
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
