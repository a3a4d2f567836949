"""Runs of Weights & Biases, one for each run of a study, as one of its groups.

Where they go is W&B's own matter: `wandb login`, WANDB_PROJECT, WANDB_ENTITY. With
WANDB_MODE=offline nothing leaves the machine; `wandb sync OUT/wandb/offline-run-*`
sends it later.
"""

import hashlib
import os
import secrets
import shutil
from pathlib import Path

import wandb
from wandb import Settings
from wandb.errors import Error

from experiments.settings import ConfigError
from experiments.sinks import Point, Run
from rpex_jax.results import write_atomically

SECONDS = 60.0  # that the end of a run may wait for the network


class WeightsAndBiases:
    """A run of a study has the same id in every process.

    W&B cannot take back a point. Online a run goes on behind the last step that the
    server has: what a resume repeats is there already. Offline a run is written anew
    from its beginning, and the older copy goes.
    """

    def __init__(self, out: Path):
        self._out = out
        self._group = ""
        self._runs: dict[str, wandb.Run] = {}
        self._online = wandb.setup().settings.mode == "online"
        if self._online:
            check_login()

    def write(self, run: Run, points: list[Point]) -> None:
        if run.group != self._group:
            self.close()
            self._group = run.group
        if run.name not in self._runs:
            self._runs[run.name] = self._start(run)
        of_run = self._runs[run.name]
        for point in points:
            if point.step >= of_run.starting_step:
                of_run.log(point.values, step=point.step, commit=True)

    def close(self) -> None:
        while self._runs:
            self._runs.popitem()[1].finish()

    def _start(self, run: Run) -> wandb.Run:
        place = hashlib.sha256(run.name.encode()).hexdigest()[:12]
        identity = f"{study_id(self._out / 'wandb')}-{place}"
        for old in (self._out / "wandb").glob(f"offline-run-*-{identity}"):
            shutil.rmtree(old)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "rpex_jax"),
            group=self._out.resolve().name,
            job_type=run.name.split("/")[0],
            name=run.name,
            id=identity,
            config=run.labels,
            dir=self._out,
            resume="allow" if self._online else None,
            reinit="create_new",
            settings=Settings(
                silent=True,
                console="off",
                x_disable_stats=True,
                x_save_requirements=False,  # takes longer than all else together
                finish_timeout=SECONDS,
                finish_timeout_raises=True,
            ),
        )


def check_login() -> None:
    """Raises a `ConfigError` unless the server takes who is logged in; never asks."""
    try:
        logged_in, problem = wandb.login(prompt=False), "nobody is logged in"
    except Error as error:  # a wrong key, no network
        logged_in, problem = False, str(error)
    if not logged_in:
        raise ConfigError(
            f"--sink is wandb: {problem}; use `wandb login`, or WANDB_MODE=offline"
        )


def study_id(folder: Path) -> str:
    """What tells the runs of this results folder from those of all others."""
    file = folder / "study"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, secrets.token_hex(5))
    return file.read_text()
