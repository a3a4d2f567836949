"""What the programs share: flags, errors of one line, the cache."""

import contextlib
import difflib
import functools
import os
import re
import runpy
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from experiments import settings
from experiments.interruption import Interrupted
from experiments.settings import ConfigError
from rpex_jax.checkpoints import CheckpointError
from rpex_jax.data.attack_sets import AttackSetError
from rpex_jax.data.dataset import DatasetError
from rpex_jax.data.policy_files import PolicyFileError
from rpex_jax.devices import num_cores
from rpex_jax.envs.rendering import RenderingError
from rpex_jax.results import ResultsError

# Defined once, so that programs can be imported side by side.
CONFIG = config_flags.DEFINE_config_file("config", None, "File with the settings.")
OUT = flags.DEFINE_string("out", None, "Where results go.")

# Whose sentence says what to do; no other error is a user's.
PROBLEMS = (
    ConfigError,
    DatasetError,
    AttackSetError,
    CheckpointError,
    PolicyFileError,
    ResultsError,
    RenderingError,
)


def run(main: Callable[[list[str]], None]) -> None:
    """Runs a program, which ends as in `errors_in_a_line`.

    Args:
      main: the program; of its arguments the flags are gone, the first is its name.
    """
    app.run(functools.partial(_run, main), flags_parser=parse_flags)


def _run(main: Callable[[list[str]], None], argv: list[str]) -> None:
    use_cores(num_cores())
    with errors_in_a_line():
        main(argv)


@contextlib.contextmanager
def errors_in_a_line() -> Iterator[None]:
    """Ends the program with a sentence and an exit code, where a user can go on.

    The user's mistakes and what cannot be read or written end it with 2, a signal with
    128 and its number.
    """
    try:
        yield
    except PROBLEMS as error:
        fail(error)
    except OSError as error:  # a full disk, a folder that cannot be written
        place, reason = error.filename or OUT.value, error.strerror or error
        fail(f"{f'{place}: ' if place else ''}{reason}; what was saved is whole")
    except Interrupted as stopped:
        print(
            f"{stopped}: stopped; the same command with --resume goes on from the last "
            "chunk that was saved",
            file=sys.stderr,
        )
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print("stopped at once; what was saved is whole", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def refuse_arguments(
    argv: list[str],
    takes_config: bool = False,
    ignored: Iterable[flags.FlagHolder] = (),
) -> None:
    """Raises a `ConfigError` at an argument that would do nothing.

    Args:
      argv: what no flag took, after the program's name.
      takes_config: whether the program reads `--config`.
      ignored: flags that came with an import, and that the program does not read.
    """
    if len(argv) > 1:
        raise ConfigError(
            f"unknown argument {argv[1]!r}; all arguments are flags, --name=value"
        )
    if not takes_config and CONFIG.value is not None:
        file = flags.FLAGS["config"].config_filename
        raise ConfigError(f"--config is {file}; this program must have none")
    for flag in ignored:
        if flag.present:
            raise ConfigError(
                f"--{flag.name} is {flag.value}; this program must have none"
            )


def the_folder(argv: list[str]) -> Path:
    """The one argument of programs that look at a folder.

    Raises:
      ConfigError: there is none, there are several, or it is no folder.
    """
    if len(argv) != 2:
        raise ConfigError(
            f"the arguments are {argv[1:]}; there must be one, a results folder"
        )
    refuse_arguments(argv[:1], ignored=[OUT])
    if not Path(argv[1]).is_dir():
        raise ConfigError(f"{argv[1]} is no folder; it must be a results folder")
    return Path(argv[1])


def read_config(expected: ConfigDict) -> ConfigDict:
    """What `--config` holds.

    Args:
      expected: the program's own defaults, all of whose settings it must have.

    Raises:
      ConfigError: no file is named, or one of another program.
    """
    if CONFIG.value is None:
        raise ConfigError("--config is not given; it must name a file with settings")
    try:
        settings.check_types(CONFIG.value, expected)
    except ConfigError as error:
        file = flags.FLAGS["config"].config_filename
        raise ConfigError(f"--config is {file}: {error}") from error
    return CONFIG.value


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, with one sentence instead of a traceback or of its usage."""
    given = config_given(argv)
    config = None if given is None else default_of(given)
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        if error.flagname.startswith("config."):
            fail(f"--{error.flagname} changes a config; --config must name its file")
        near = difflib.get_close_matches(error.flagname, list(flags.FLAGS), n=1)
        hint = f"did you mean --{near[0]}? " if near else ""
        fail(f"there is no flag --{error.flagname}; {hint}--helpfull lists all")
    except flags.IllegalFlagValueError as error:
        name, value = re.match("flag --([^=]+)=(.*?): ", str(error), re.DOTALL).groups()
        fail(f"--{name} is {value!r}; it must be {kind_of(name, config)}")
    except flags.Error as error:  # a flag without its value
        fail(f"{error}; it must read --name=value")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        name_mistyped_setting(argv, config)
        fail(" ".join(str(error).split()))


def kind_of(name: str, config: ConfigDict | None) -> str:
    """What a flag, or a setting as one, may be."""
    if config is not None and name.startswith("config."):
        return settings.kind_of(settings.look_up(config, name.removeprefix("config.")))
    parser = flags.FLAGS[name].parser
    values = getattr(parser, "enum_values", ("true", "false"))
    return parser.syntactic_help or f"one of {', '.join(values)}"


def config_given(argv: list[str]) -> str | None:
    """The value of `--config`, if it is there."""
    given = None
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config"):
            given = value if equals else following
    return given


def default_of(given: str) -> ConfigDict:
    """The config of `file.py` or `file.py:argument`; ends the program without one."""
    file, *argument = given.split(":", 1)
    if not Path(file).is_file():
        fail(f"--config is {file!r}, which is no file; it must name one with settings")
    form = "it must be Python, whose get_config() returns a ConfigDict"
    try:
        config = runpy.run_path(file).get("get_config", lambda: None)(*argument)
    except ConfigError as error:  # it refuses the argument
        fail(f"--config is {given}: {error}")
    except Exception as error:  # it is the user's own code
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        fail(f"--config is {given}, where get_config() fails ({reason}); {form}")
    if not isinstance(config, ConfigDict):
        fail(f"--config is {given}; {form}")
    return config


def name_mistyped_setting(argv: list[str], config: ConfigDict | None) -> None:
    """Fails with the nearest key if an argument sets one that the config lacks."""
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        if config is not None and name.startswith("config."):
            try:
                settings.look_up(config, name.removeprefix("config."))
            except ConfigError as mistyped:
                fail(mistyped)


def fail(problem: object) -> NoReturn:
    """Ends the program with one line and exit code 2."""
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(2)


def use_cores(count: int) -> None:
    """Makes a CPU so many devices, a core each; before JAX is used.

    Runs on devices of their own are faster than one after the other on all cores. What
    the user chose, in JAX_NUM_CPU_DEVICES or a flag of XLA, stands.
    """
    flag = "xla_force_host_platform_device_count"
    chosen = jax.config.jax_num_cpu_devices >= 0
    if not chosen and flag not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", count)


def cache_compilations() -> None:
    """Keeps compiled programs between processes, unless the user chose a place."""
    if not jax.config.jax_compilation_cache_dir:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "rpex_jax"))
