"""The folder of a study: what was asked for, and what it ran with."""

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
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
from experiments.settings import ConfigError, flatten
from rpex_jax import results

PACKAGES = ("jax", "flax", "optax", "mujoco", "gymnasium", "minari", "numpy")


def prepare(out: Path, config: ConfigDict, resume: bool) -> None:
    """Writes what was asked for and with what, or checks that it is the same.

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
        if (other := difference(json.loads(saved.read_text()), json.loads(text))) != "":
            raise ConfigError(
                f"--resume needs the config that {out} was made with; {other}"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    program = sys.modules["__main__"].__spec__  # None where it is no module
    versions = provenance(program.name if program else "experiments.sweep")
    results.write_atomically(out / "versions.json", json.dumps(versions, indent=1))
    results.write_atomically(saved, text)


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keeps other processes of this kind out of a folder that there is.

    The lock is the system's and goes with the process, however that ends.

    Raises:
      ConfigError: another process is at work there.
    """
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(folder)
        raise ConfigError(
            f"--out is {out}, where another process is at work; wait for its end, or "
            "take another folder"
        ) from error
    try:
        yield
    finally:
        os.close(folder)


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
    config = ConfigDict(_with_tuples(json.loads(saved.read_text())))
    expected = default_config() if "sweep" in config else collect.get_config()
    names = [name for name, _ in flatten(config)]
    for name, _ in flatten(expected):
        if name not in names and not name.startswith("corruptions."):
            raise ConfigError(
                f"{saved} has no {name!r}; it must be of a sweep or a collection of "
                "this version"
            )
    return config


def read_rows(out: Path) -> list[dict]:
    """All rows of a sweep, those of its units too; a run's are in order of time."""
    files = [out / "chunks.jsonl", *sorted(out.glob("units/*/chunks.jsonl"))]
    return [row for file in files for row in results.read_rows(file)]


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
    device = jax.devices()[0]
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "device": f"{device.platform}: {device.device_kind}, {os.cpu_count()} cores",
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "commit": commit(),
    }


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
