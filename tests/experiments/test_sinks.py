"""Curves in TensorBoard and W&B: every point once, whatever happens to the sweep."""

import os
import struct
import subprocess
import sys
import types

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import (
    LegacyEventFileLoader,
)

from experiments import export, sinks, training
from experiments.progress import progress_bar
from experiments.settings import ConfigError
from experiments.sweep import run_study
from rpex_jax import results
from tests.experiments.test_training import CHUNKS, ENV, group

WHOLE = group(diverges=-1)  # nobody fails
CONFIG = {"env": "NoScore-v0", "sweep": {"axes": ["online.rate=0.1,0.2"]}}
NAMES = ("online/method=pex/seed=0", "online/method=pex/seed=1")


class Killed(Exception):
    pass


def points_of(folder):
    """All scalars of the event files of a run, as written: step and values."""
    events = [
        event
        for file in sorted(folder.glob("events.out.tfevents.*"))
        for event in LegacyEventFileLoader(str(file)).Load()
    ]
    return [
        (event.step, {value.tag: value.simple_value for value in event.summary.value})
        for event in events
        if event.HasField("summary")
    ]


def train(out, names=("tensorboard",)):
    """The made-up group of the tests of the loop, followed by sinks."""
    out.mkdir(exist_ok=True)
    followers = sinks.open_sinks(names, out)
    with (
        progress_bar("test", 1, "step") as bar,
        sinks.followed(followers, CONFIG) as log,
    ):
        training.train(WHOLE, out, ENV, 2, bar, lambda: None, log)


def kill_before_checkpoint(number, monkeypatch):
    """The chunk's rows are on disk and in the sinks; the resume trains it again."""

    def save(folder, chunk, state):
        if chunk == number:
            raise Killed
        return whole(folder, chunk, state)

    whole = training.checkpoints.save
    monkeypatch.setattr(training.checkpoints, "save", save)


def expected(out, run):
    """What `chunks.jsonl` has of one of the runs: step and numbers."""
    rows = results.read_rows(out / "chunks.jsonl")
    return [
        (point.step, {name: pytest.approx(x) for name, x in point.values.items()})
        for found, points in sinks.curves(rows, CONFIG)
        if found.name == run
        for point in points
    ]


def test_points_are_rows():
    """Mean scores for returns; no labels, no text, nothing that is not finite."""
    labels = {"base": "iql", "method": "pex", "corruption": "clean", "seed": 3}
    labels |= {"online.rate": 0.1, "pretraining": 7}
    place = {"group": "online-4", "phase": "online", "chunk": 2, "step": 30}
    row = labels | place | {"a/b": 1, "c": None, "d": float("nan"), "failed": "d is"}
    row |= {"returns": [1.0, 2.0], "returns/pgd": [3.0, None], "wall/chunk": 0.5}
    [(run, points)] = sinks.curves([row], CONFIG)
    assert run.labels == labels and run.group == "online-4"
    assert run.name == (
        "online/base=iql/method=pex/corruption=clean/seed=3/pretraining=7/"
        "online.rate=0.1"
    )
    assert points == [(30, {"a/b": 1.0, "score": 1.5, "wall/chunk": 0.5})]
    hopper = CONFIG | {"env": "Hopper-v4"}
    [(_, [point])] = sinks.curves([row], hopper)
    assert point.values["score"] == pytest.approx(100 * (1.5 + 20.27) / 3254.57, 1e-3)
    # names are folders: a value with a slash is one part, and stays apart from others
    names = [
        sinks.curves([row | {"online.rate": rate}], CONFIG)[0][0].name.split("/")[-1]
        for rate in ("a/b", "a_b", "..", "a%2Fb")
    ]
    assert len(set(names)) == 4 and all(n.startswith("online.rate=") for n in names)


def test_a_resume_doubles_nothing(tmp_path, monkeypatch):
    """Killed with a chunk in the sink that no checkpoint has."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_before_checkpoint(3, patch)
        train(out)
    run = out / "tensorboard" / NAMES[1]
    assert [step for step, _ in points_of(run)] == [15, 25, 35]
    train(out)
    assert [step for step, _ in points_of(run)] == [15, 25, 35, 45]
    for name in NAMES:
        assert points_of(out / "tensorboard" / name) == expected(out, name)
    # and as TensorBoard itself reads it
    reader = EventAccumulator(str(run)).Reload()
    assert [event.step for event in reader.Scalars("critic/loss")] == [15, 25, 35, 45]
    assert [event.value for event in reader.Scalars("score")] == [1.5, 1.5]


def test_export_is_what_a_sweep_writes(tmp_path):
    """From the files alone, of a sweep that had no sink; once more changes nothing."""
    train(tmp_path, names=())
    assert not (tmp_path / "tensorboard").exists()
    (tmp_path / "config.json").write_text(results.json.dumps(CONFIG))
    pretrained = {"group": "pretrained", "phase": "pretrained", "step": 0, "chunk": 0}
    results.append_rows(tmp_path / "chunks.jsonl", [pretrained])
    for _ in range(2):
        export.export(tmp_path, ["tensorboard"])
        for name in NAMES:
            points = points_of(tmp_path / "tensorboard" / name)
            assert len(points) == CHUNKS
            assert points == expected(tmp_path, name)
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {"online"}
    with pytest.raises(ConfigError, match=r"must be the folder of a sweep"):
        export.export(tmp_path / "tensorboard", ["tensorboard"])


def test_export_closes_a_sink_that_fails(tmp_path, monkeypatch):
    """What it has taken so far is flushed, or a server is told that it is over."""
    closed = []

    class Full:
        def write(self, run, points):
            raise OSError(28, "No space left")

        def close(self):
            closed.append(self)

    train(tmp_path, names=())
    (tmp_path / "config.json").write_text(results.json.dumps(CONFIG))
    full = {"tensorboard": Full(), "wandb": Full()}
    monkeypatch.setattr(sinks, "open_sinks", lambda names, out: full)
    with pytest.raises(OSError, match="No space left"):
        export.export(tmp_path, list(full))
    assert set(closed) == set(full.values())


def test_hundreds_of_runs_take_one_file_at_a_time(tmp_path):
    """A process may have 1024 files open, on most machines."""
    sink = sinks.open_sinks(["tensorboard"], tmp_path)["tensorboard"]
    before = len(os.listdir("/proc/self/fd"))
    for chunk in (1, 2):
        for number in range(256):
            run = sinks.Run(f"online/seed={number}", "online-0", {})
            sink.write(run, [sinks.Point(chunk, {"loss": number})])
        assert len(os.listdir("/proc/self/fd")) == before
    for number in (0, 255):
        written = points_of(tmp_path / "tensorboard" / "online" / f"seed={number}")
        assert written == [(1, {"loss": number}), (2, {"loss": number})]


def test_a_sink_that_fails_costs_no_training(tmp_path, capsys):
    """It is told of once; the other sink gets everything."""

    class Full:
        def write(self, run, points):
            raise OSError(28, "No space left")

        close = write

    followers = sinks.open_sinks(["tensorboard"], tmp_path)
    with (
        progress_bar("test", 1, "step") as bar,
        sinks.followed({"full": Full()} | followers, CONFIG) as log,
    ):
        training.train(WHOLE, tmp_path, ENV, 2, bar, lambda: None, log)
    assert len(results.read_rows(tmp_path / "chunks.jsonl")) == 2 * CHUNKS
    assert len(points_of(tmp_path / "tensorboard" / NAMES[0])) == CHUNKS
    told = capsys.readouterr().err
    assert told.count("--sink=full has failed and gets no more, training goes on") == 1


def test_a_missing_package_is_a_sentence(tmp_path, monkeypatch):
    """Before the config is looked at; nothing is left behind."""
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    monkeypatch.delitem(sys.modules, "experiments.sinks.tensorboard", raising=False)
    out = tmp_path / "out"
    with pytest.raises(ConfigError) as error:
        run_study(None, out, resume=False, sink_names=["tensorboard"])
    assert not out.exists()
    assert "which needs pip install -e '.[tensorboard]'" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="--sink is 'wand'; did you mean 'wandb'"):
        sinks.open_sinks(["wand"], out)


def test_nothing_is_imported_unasked():
    """Extras are not there for most users, and W&B takes a second."""
    code = (
        "import sys, experiments.sinks\n"
        "print({'tensorboard', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


# W&B


class Server:
    """What W&B's module and server do, as far as the sink goes."""

    def __init__(self):
        self.points, self.open, self.most_open, self.key = {}, set(), 0, "right"

    def init(self, *, id, resume, reinit, **options):
        assert resume == "allow" and reinit == "create_new"
        points = self.points.setdefault(id, [])
        self.open.add(id)
        self.most_open = max(self.most_open, len(self.open))

        def log(values, step, commit):
            assert commit
            points.append((step, values))

        return types.SimpleNamespace(
            starting_step=points[-1][0] + 1 if points else 0,
            log=log,
            finish=lambda: self.open.remove(id),
        )

    def login(self, prompt):
        assert not prompt  # nobody sits before a sweep
        if self.key == "wrong":
            raise self.errors.Error("Failed to authenticate")
        return bool(self.key)


@pytest.fixture
def server(monkeypatch):
    """W&B online, without W&B."""
    there = Server()
    module, there.errors = types.ModuleType("wandb"), types.ModuleType("wandb.errors")
    there.errors.Error = type("Error", (Exception,), {})
    module.Run, module.Settings = object, dict
    module.init, module.login = there.init, there.login
    settings = types.SimpleNamespace(mode="online")
    module.setup = lambda: types.SimpleNamespace(settings=settings)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setitem(sys.modules, "wandb.errors", there.errors)
    monkeypatch.delitem(sys.modules, "experiments.sinks.wandb", raising=False)
    yield there
    sys.modules.pop("experiments.sinks.wandb", None)


def test_wandb_goes_on_behind_what_it_has(server, tmp_path, monkeypatch):
    """It cannot take a point back; ids are the same in every process."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_before_checkpoint(3, patch)
        train(tmp_path / "out", names=["wandb"])
    assert not server.open
    train(tmp_path / "out", names=["wandb"])
    ids = set(server.points)
    assert len(ids) == 2 and not server.open
    for points in server.points.values():
        assert [step for step, _ in points] == [15, 25, 35, 45]
    train(tmp_path / "other", names=["wandb"])  # the same study elsewhere
    assert len(server.points) == 4


def test_wandb_has_the_runs_of_one_group_open(server, tmp_path):
    sink = sinks.open_sinks(["wandb"], tmp_path)["wandb"]
    for number in range(6):
        run = sinks.Run(f"online/seed={number}", f"online-{number // 2}", {})
        sink.write(run, [sinks.Point(1, {"loss": 1.0})])
    assert server.most_open == 2 and len(server.open) == 2
    sink.close()
    assert not server.open and len(server.points) == 6


@pytest.mark.parametrize(
    ("key", "problem"), [("", "nobody is logged in"), ("wrong", "Failed to authent")]
)
def test_wandb_without_a_login_is_a_sentence(server, tmp_path, key, problem):
    server.key = key
    with pytest.raises(ConfigError, match=f"{problem}.*; use `wandb login`, or WANDB"):
        sinks.open_sinks(["wandb"], tmp_path)


def test_wandb_offline(tmp_path, monkeypatch):
    """The package itself: a resume leaves one copy of a run, with every point once."""
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_before_checkpoint(3, patch)
        train(tmp_path, names=["wandb"])
    train(tmp_path, names=["wandb"])
    wandb.teardown()  # what the end of a process does; the files are whole then
    folders = list((tmp_path / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    for folder in folders:
        [file] = folder.glob("run-*.wandb")
        assert wandb_steps(file.read_bytes()) == [15, 25, 35, 45]


def wandb_steps(data):
    """Steps of the history in W&B's file: LevelDB's log format behind 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    place, record, steps = 7, b"", []
    while place < len(data):
        if 32768 - place % 32768 < 7:  # no room for a header: the block is padded
            place += 32768 - place % 32768
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            parsed, record = Record.FromString(record), b""
            if parsed.HasField("history"):
                steps.append(parsed.history.step.num)
    return steps
