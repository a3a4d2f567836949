"""The peers' interpreter, and `benchmarks/peers.py` as a process that is asked."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from absl import flags

from experiments.settings import ConfigError

PEERS_PYTHON = flags.DEFINE_string(
    "peers", None, "Python of `make peers`; without it the peers are skipped."
)


class Peers(NamedTuple):
    """A running `peers.py`."""

    process: subprocess.Popen
    versions: dict[str, str]
    agents: dict[str, str]  # a peer's name -> the agent that it is

    def update(self, name: str, count: int) -> None:
        """Has a peer do so many updates, and waits."""
        print(name, count, file=self.process.stdin, flush=True)
        if not self.process.stdout.readline():
            sys.exit(f"error: the peers' process ended in {name}")


def find_peers(python: str | None) -> str | None:
    """The interpreter, or None with a line that says how to get it."""
    if python and not os.access(python, os.X_OK):
        raise ConfigError(
            f"--peers is {python!r}, which is no program; `make peers` makes one"
        )
    if not python:
        print("peers are skipped: run `make peers`, --peers=.venv-peers/bin/python")
    return python


@contextlib.contextmanager
def running(python: str, problem: dict) -> Iterator[Peers]:
    """Starts `peers.py` on a problem, and ends it."""
    script = str(Path(__file__).with_name("peers.py"))
    with subprocess.Popen(
        [python, script, json.dumps(problem)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        greeting = process.stdout.readline()
        if not greeting:
            sys.exit(f"error: {python} {script} did not start")
        yield Peers(process, **json.loads(greeting))
        process.stdin.close()
