"""Whole studies, tiny ones: what they leave, and that no kill changes it."""

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import export, folders
from experiments import sweep as program
from experiments.settings import ConfigError
from experiments.study_results import as_scores
from rpex_jax import checkpoints, results
from tests.experiments.test_sinks import points_of
from tests.experiments.tiny import tiny_config, write_data

ROOT = Path(__file__).parents[2]
CHUNKS = 6  # of each phase, in the study that is stopped
RUNS_OFFLINE, RUNS_ONLINE = 2, 4  # two corruptions; times two methods
NUM_ROWS = CHUNKS * (RUNS_OFFLINE + RUNS_ONLINE)
GOES_ON = (
    "stopped; the same command with --resume goes on from the last chunk that was "
    "saved\n"
)
GROUPS = ("offline-0", "online-0")
METRICS = {"value/loss", "critic/loss", "actor/loss", "wall/chunk"}


# One study on real physics, in this process


@pytest.fixture(scope="module")
def hopper(tmp_path_factory):
    """A finished study on Hopper: its folder, its rows and what it printed."""
    folder = tmp_path_factory.mktemp("hopper")
    write_data(folder / "data.npz", observation_dim=11, action_dim=3)
    config = tiny_config(folder / "data.npz", chunks=2)
    program.run_study(config, folder / "out", resume=False, sink_names=["tensorboard"])
    return folder / "out", results.read_rows(folder / "out" / "chunks.jsonl"), config


def test_a_study_leaves_its_folder(hopper):
    """Config, versions, rows, report and plots, none of them empty."""
    out, _, config = hopper
    names = {"config.json", "versions.json", "chunks.jsonl", "report.md"}
    names |= {"checkpoints", "report.html", "figures", "tensorboard", ".lock"}
    assert {path.name for path in out.iterdir()} == names
    saved = json.loads((out / "config.json").read_text())
    assert saved == json.loads(json.dumps(config.to_dict()))
    versions = json.loads((out / "versions.json").read_text())
    assert {"jax", "python", "device", "command", "commit"} <= versions.keys()
    assert {"jaxlib", "mujoco-mjx", "orbax-checkpoint"} <= versions.keys()
    image = (out / "figures" / "curves-iql.png").read_bytes()
    assert image.startswith(b"\x89PNG") and len(image) > 5_000
    groups = {path.name for path in (out / "checkpoints").iterdir()}
    assert groups == {"offline-0", "online-0"}


def test_a_study_notes_who_goes_on_with_it(hopper, tmp_path, monkeypatch):
    """The first versions stay; what differs later is added, once."""
    out, _, config = hopper
    for name in ("config.json", "versions.json"):
        shutil.copy(out / name, tmp_path)
    first = json.loads((tmp_path / "versions.json").read_text())

    def go_on(commit: str) -> dict:
        monkeypatch.setattr(folders, "commit", lambda: commit)
        folders.prepare(tmp_path, config, resume=True)
        return json.loads((tmp_path / "versions.json").read_text())

    assert go_on(first["commit"]) == first
    for commit, count in (("a", 1), ("a", 1), (first["commit"], 2)):
        versions = go_on(commit)
        *_, last = changes = versions.pop("resumed")
        assert versions == first and len(changes) == count
        assert last.keys() == {"commit", "date", "command"}
        assert last["commit"] == commit


def test_every_chunk_of_every_run_has_a_row(hopper):
    """Labels, step and finite metrics; returns where the chunk was evaluated."""
    _, rows, _ = hopper
    assert len(rows) == 2 * (RUNS_OFFLINE + RUNS_ONLINE)
    for row in rows:
        assert METRICS <= row.keys()
        for name, value in row.items():
            if isinstance(value, float):
                assert np.isfinite(value), name
        assert ("returns" in row) == (row["chunk"] == 2)
        if "returns" in row:
            assert len(row["returns"]) == 2 and np.isfinite(row["returns"]).all()
        first = 3 if row["phase"] == "online" else 0
        assert row["step"] == first + 2 * row["chunk"]
    online = [row for row in rows if row["phase"] == "online"]
    points = {(r["method"], r["corruption"], r["seed"], r["chunk"]) for r in online}
    assert len(points) == len(online) == 8
    # both methods of a corruption start from the same pretraining
    assert len({(r["corruption"], r["pretraining"]) for r in online}) == 2


def test_a_sink_gets_every_row(hopper, tmp_path):
    """What training hands on as it goes is what the finished folder has."""
    out, rows, _ = hopper
    shutil.copytree(out, tmp_path / "copy")
    export.export(tmp_path / "copy", ["tensorboard"])
    live, later = (f / "tensorboard" for f in (out, tmp_path / "copy"))
    folders = {file.parent.relative_to(live) for file in live.rglob("events.*")}
    assert len(folders) == RUNS_OFFLINE + RUNS_ONLINE
    assert sum(len(points_of(live / folder)) for folder in folders) == len(rows)
    for folder in folders:
        points = points_of(live / folder)
        assert points == points_of(later / folder)
        assert "critic/loss" in points[0][1] and "score" in points[-1][1]


def test_report_has_every_cell(hopper):
    """A row a method, a column a corruption, offline -> online in each."""
    out, rows, _ = hopper
    lines = (out / "report.md").read_text().splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    assert table[0] == ["iql", "clean", "action", "average"]
    assert [line[0] for line in table[2:4]] == ["pex", "rpex"]
    for method, *cells in table[2:4]:
        assert len(cells) == 3
        for corruption, cell in zip(("clean", "action"), cells, strict=False):
            before, after = (
                np.mean(as_scores("Hopper-v4", row["returns"]))
                for phase in ("offline", "online")
                for row in rows
                if row["phase"] == phase
                and row["corruption"] == corruption
                and row.get("method", method) == method
                and "returns" in row
            )
            assert cell.startswith(f"{before:.1f} -> {after:.1f}"), (
                cell,
                before,
                after,
            )
    assert any("](figures/curves-iql.png)" in line for line in lines)


def test_an_existing_folder_is_not_overwritten(hopper):
    """Results of hours are safe from a second start; the message says what to do."""
    out, rows, config = hopper
    with pytest.raises(ConfigError, match=r"--out is .*pass --resume") as error:
        program.run_study(config, out, resume=False)
    assert "\n" not in str(error.value)
    assert results.read_rows(out / "chunks.jsonl") == rows


# A study that is stopped, in processes of its own, on two devices


def start(
    data: Path, out: Path, *resume: str, chunks: int = CHUNKS
) -> subprocess.Popen:
    environment = os.environ | {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles twice as fast
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "tests.experiments.tiny"]
    with open(out.with_suffix(".log"), "a") as log:  # a full pipe would block it
        return subprocess.Popen(
            [*command, str(data), str(out), str(chunks), *resume],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )


def finish(process: subprocess.Popen, out: Path) -> list[dict]:
    """The rows of a study that ends by itself, without the seconds."""
    assert process.wait(timeout=300) == 0, out.with_suffix(".log").read_text()
    rows = results.read_rows(out / "chunks.jsonl")
    return [{k: v for k, v in r.items() if not k.startswith("wall/")} for r in rows]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("killed") / "data.npz"
    write_data(path, observation_dim=1, action_dim=1)
    return path


def test_a_stopped_study_goes_on_as_if_nothing_had_happened(data, tmp_path):
    """kill -9 while pretraining, SIGTERM online, and --resume: the same rows to the
    last digit, so the states that were restored are the states that were lost."""
    expected = finish(start(data, tmp_path / "whole"), tmp_path / "whole")
    assert len(expected) == NUM_ROWS
    out = tmp_path / "out"
    process = start(data, out)
    wait_for_rows(process, out, 3 * RUNS_OFFLINE)
    process.kill()
    assert process.wait() == -signal.SIGKILL, out.with_suffix(".log").read_text()

    process = start(data, out, "--resume")
    wait_for_rows(process, out, CHUNKS * RUNS_OFFLINE + RUNS_ONLINE)
    process.terminate()  # this one finishes and saves its chunk, and says how to go on
    code, log = process.wait(), out.with_suffix(".log").read_text()
    assert code == 128 + signal.SIGTERM, log
    assert log.endswith("SIGTERM: " + GOES_ON)
    rows, folder = results.read_rows(out / "chunks.jsonl"), out / "checkpoints"
    saved = {name: checkpoints.latest(folder / name) for name in GROUPS}
    assert all(row["chunk"] <= saved[row["group"]] for row in rows)
    assert len(rows) < NUM_ROWS
    assert finish(start(data, out, "--resume"), out) == expected


def wait_for_rows(process: subprocess.Popen, out: Path, count: int) -> None:
    """Until there are so many, and a little longer: somewhere in the chunk after."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if len(results.read_rows(out / "chunks.jsonl")) >= count:
            break
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.05))


@pytest.mark.slow
def test_fifty_kills_at_any_moment(data, tmp_path):
    """Also while it starts, restores, saves and writes: in the end the same rows, and
    nothing half written is left."""
    chunks, kills = 60, 0
    whole, out = tmp_path / "whole", tmp_path / "out"
    expected = finish(start(data, whole, chunks=chunks), whole)
    rng = random.Random(0)
    while kills < 50:
        resume = ["--resume"] if (out / "config.json").exists() else []
        process = start(data, out, *resume, chunks=chunks)
        before = len(results.read_rows(out / "chunks.jsonl"))
        if rng.random() < 0.8:  # else while it starts
            wait_for_rows(process, out, before + rng.randrange(1, 6))
        time.sleep(rng.uniform(0, 0.5))
        assert process.poll() is None, "it ended before it was killed often enough"
        process.kill()
        process.wait()
        kills += 1
        rows = len(results.read_rows(out / "chunks.jsonl"))
        print(f"kill {kills}: {before} -> {rows} of {len(expected)} rows", flush=True)
    assert finish(start(data, out, "--resume", chunks=chunks), out) == expected
    left = [path.name for path in out.rglob("*") if "tmp" in path.name]
    assert not left


# Who else is there


def test_two_processes_do_not_share_a_folder(hopper, tmp_path):
    """The second is told and writes nothing, not even what it was asked for.

    The lock is on a file: NFS tells other machines of no other.
    """
    _, _, config = hopper
    with folders.locked(tmp_path):
        with pytest.raises(ConfigError, match="where another process is at work"):
            program.run_study(config, tmp_path, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with open(tmp_path / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="at work"), folders.locked(tmp_path):
            pass


@pytest.mark.parametrize("reason", folders.NO_LOCKS)
def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch, reason):
    """As some of clusters; what else the system says ends the program."""

    def flock(file, how):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", flock)
    with folders.locked(tmp_path), folders.locked(tmp_path):
        pass
    reason = errno.EIO
    with pytest.raises(OSError, match="error"), folders.locked(tmp_path):
        pass
