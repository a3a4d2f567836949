"""The folder of a study: what was asked for, and what it ran with."""

import contextlib
import datetime
import errno
import fcntl
import functools
import importlib.metadata
import json
import operator
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.configs import collect
from experiments.configs.default import default_config
from experiments.settings import ConfigError, check_types
from rpex_jax import results
from rpex_jax.devices import num_cores

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    *("mujoco", "mujoco-mjx", "gymnasium", "minari"),
)
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
OF_A_START = ("date", "command")  # that a study of one version has several of


def prepare(out: Path, config: ConfigDict, resume: bool) -> None:
    """Writes what was asked for and with what, or checks that the first is the same.

    Who goes on with other versions is noted too.

    Args:
      out: the folder, which is locked.
      config: what is asked for.
      resume: the same is to be there already.

    Raises:
      ConfigError: the folder holds a study already, or another one on resume.
    """
    text = json.dumps(config.to_dict(), indent=1, sort_keys=True) + "\n"
    saved = out / "config.json"
    if saved.exists():
        if not resume:
            raise ConfigError(
                f"--out is {out}, which holds a study already; pass --resume to go on "
                "with it, or another folder"
            )
        if (other := difference(read_json(saved), json.loads(text))) != "":
            raise ConfigError(
                f"--resume needs the config that {out} was made with; {other}"
            )
    program = sys.modules["__main__"].__spec__  # None where it is no module
    versions = provenance(program.name if program else "experiments.sweep")
    file = out / "versions.json"
    if file.exists():
        versions = resumed(read_json(file), versions)
    results.write_atomically(file, json.dumps(versions, indent=1))
    if not saved.exists():
        results.write_atomically(saved, text)


def resumed(first: dict, now: dict) -> dict:
    """The versions of a study that goes on: the first, and what has changed since.

    Args:
      first: what was noted so far; `resumed` in it has the changes, in order.
      now: `provenance` of the process that goes on.
    """
    changes = first.get("resumed", [])
    last = functools.reduce(operator.or_, changes, first)
    changed = {
        name: value
        for name, value in now.items()
        if name not in OF_A_START and last.get(name) != value
    }
    if not changed:
        return first
    return first | {"resumed": [*changes, changed | {x: now[x] for x in OF_A_START}]}


def check_out(key: str, out: Path) -> None:
    """Raises a `ConfigError` unless a folder can be made there, or is."""
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(
            f"{key} is {out}, but {there} is no folder that can be written; it must "
            "be one, or a new one"
        )


def check_out_file(key: str, file: Path) -> None:
    """Raises a `ConfigError` unless a file can be written there."""
    folder = file.absolute().parent
    if file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            f"{key} is {file}; it must be a file, in a folder that can be written"
        )


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Makes a folder, if there is none, and keeps other processes of this kind out.

    The lock is the system's and goes with the process, however that ends. It is on a
    file, since NFS tells other machines of no lock on a folder. Some file systems of
    clusters have no locks at all, and there nobody is kept out.

    Raises:
      ConfigError: another process is at work there, or no folder can be made.
    """
    check_out("--out", out)
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"--out is {out}, where another process is at work; wait for its end, "
                "or take another folder"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield


def read(out: Path) -> ConfigDict:
    """The config of a sweep's or a collection's folder.

    Raises:
      ConfigError: there is none, or it is of another version.
    """
    saved = out / "config.json"
    if not saved.is_file():
        raise ConfigError(
            f"{out} has no config.json; it must be the folder of a sweep or of a "
            "collection"
        )
    config = ConfigDict(_with_tuples(read_json(saved)))
    expected = default_config() if "sweep" in config else collect.get_config()
    try:
        check_types(config, expected)
    except ConfigError as error:
        raise ConfigError(
            f"{saved} is not of a sweep or a collection of this version: {error}"
        ) from error
    return config


def read_rows(out: Path) -> list[dict]:
    """All rows of a sweep, those of its units too; a run's are in order of time."""
    files = [out / "chunks.jsonl", *sorted(out.glob("units/*/chunks.jsonl"))]
    return [row for file in files for row in results.read_rows(file)]


def read_json(path: Path) -> dict:
    """The object in a file.

    Raises:
      ConfigError: it cannot be read, or is none.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({' '.join(str(error).split())}); it must be JSON"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {content!r:.40}; it must be a JSON object")
    return content


def _with_tuples(saved: Any) -> Any:
    """JSON has lists where configs have tuples."""
    if isinstance(saved, dict):
        return {key: _with_tuples(value) for key, value in saved.items()}
    return tuple(map(_with_tuples, saved)) if isinstance(saved, list) else saved


def provenance(module: str) -> dict:
    """What results were made with: versions, date, device, commit and command.

    Args:
      module: the program that runs, as `python -m` takes it.
    """
    device, count = jax.devices()[0], jax.local_device_count()
    return (
        {name: importlib.metadata.version(name) for name in PACKAGES}
        | {
            "date": datetime.date.today().isoformat(),
            "python": platform.python_version(),
            "device": f"{device.platform}: {count} x {device.device_kind}, "
            f"{num_cores()} cores",  # on a CPU both decide the last bits of results
            "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
            "commit": commit(),
        }
    )


def difference(old: dict, new: dict, prefix: str = "") -> str:
    """The first setting in which two configs differ, as text; empty if none."""
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            if found := difference(a, b, f"{prefix}{key}."):
                return found
        elif a != b:
            return f"{prefix}{key} was {a!r} and is {b!r}"
    return ""


def commit() -> str:
    """The commit that runs, marked where the work tree differs; empty outside git."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
