"""Studies in units: the same rows as in one piece, whoever runs them."""

import contextlib
import json
import logging
import os
import signal
import sys
import time
import types
from pathlib import Path

import chex
import psutil
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import (
    dry_run,
    folders,
    measure,
    measured,
    policies,
    status,
    study,
    study_cost,
    sweep,
    units,
)
from experiments.groups import plan
from experiments.interruption import Interrupted
from experiments.launchers import LAUNCHERS, parse_resources, slurm
from experiments.settings import ConfigError
from experiments.units import Unit
from rpex_jax.sweep import take
from tests.experiments.tiny import small_world, tiny_config, write_data

CHUNKS = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    write_data(folder / "small.npz", observation_dim=1, action_dim=1)
    write_data(folder / "hopper.npz", observation_dim=11, action_dim=3)
    return folder


def make_config(file: Path, seeds=(0, 1), chunks=CHUNKS):
    """Pretrainings of one program, and a run from each."""
    config = tiny_config(file, chunks).unlock()
    config.sweep.method = ("direct",)
    config.sweep.corruption, config.sweep.seed = ("action",), seeds
    return config.lock()


def rows_of(out: Path) -> list[dict]:
    """All that was learned, in an order of its own and without the seconds."""
    rows = [
        {k: v for k, v in row.items() if not k.startswith("wall/")}
        for row in folders.read_rows(out)
    ]
    places = ("phase", "method", "seed", "chunk")
    return sorted(rows, key=lambda row: [str(row.get(name)) for name in places])


def assert_same(rows, others):
    """Batches of another size may add in another order."""
    for row, other in zip(rows, others, strict=True):
        for name, value in row.items():
            if isinstance(value, float | list):
                assert value == pytest.approx(other[name], rel=1e-4, abs=1e-5), name
            else:
                assert value == other[name], name


# What a unit is


def test_units_are_slices_of_programs(data):
    """Of 3 and 3 pretrainings of two programs, two at a time; none lost, none twice."""
    config = make_config(data / "small.npz", seeds=(0, 1, 2)).unlock()
    config.sweep.base = ("iql", "riql")
    runs = study.expand_grid(config)
    cut = units.units(runs, 2)
    assert [unit.name for unit in cut] == [
        "offline-0-runs-0-1",
        "offline-0-runs-2-2",
        "offline-1-runs-0-1",
        "offline-1-runs-2-2",
    ]
    whole = plan(runs)
    assert [key for unit in cut for key in unit.pretrainings] == list(whole.numbers)
    assert [unit.name for unit in units.units(runs, 0)] == [
        "offline-0-runs-0-2",
        "offline-1-runs-0-2",
    ]
    part = plan(runs, cut[3].pretrainings)
    assert part.numbers == whole.numbers  # of the study
    assert list(part.offline) == ["offline-1"] and list(part.online) == ["online-1"]
    labels = [run.labels for run in part.online["online-1"][1]]
    assert [(x["base"], x["method"], x["seed"]) for x in labels] == [
        ("riql", "direct", 2)
    ]


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        ({"expansion.num_policies": 3, "expansion.members": "seeds"}, "'seeds'"),
        (
            {
                "perturbation.kind": "random",
                "sweep.axes": ("curriculum.kind=linear,adaptive",),
                "curriculum.q_max": 0.0,
            },
            "q_max 0",
        ),
    ],
)
def test_runs_that_need_each_other_stay_together(data, tmp_path, edit, part):
    """One sentence, and nothing is written."""
    config = make_config(data / "small.npz").unlock()
    config.sweep.method = ("pex",)
    config.update_from_flattened_dict(edit)
    with small_world(), pytest.raises(ConfigError, match="cut into units") as error:
        sweep.run_study(config, tmp_path / "out", resume=False, unit_size=1)
    assert part in str(error.value)
    assert not (tmp_path / "out").exists()


# A study in units, in this process


@pytest.fixture(scope="module")
def both(data, tmp_path_factory):
    """The same study whole and in two units."""
    folder = tmp_path_factory.mktemp("both")
    config = make_config(data / "small.npz")
    with small_world():
        sweep.run_study(config, folder / "whole", resume=False)
        sweep.run_study(config, folder / "units", resume=False, unit_size=1)
    return folder, config


def test_units_leave_the_rows_of_the_whole(both):
    folder, _ = both
    names = sorted(path.name for path in (folder / "units" / "units").iterdir())
    assert names == [f"offline-0-runs-{i}-{i}" for i in range(2)]
    assert not (folder / "units" / "chunks.jsonl").exists()
    whole = rows_of(folder / "whole")
    assert len(whole) == CHUNKS * (2 + 2)
    assert_same(rows_of(folder / "units"), whole)


def test_readers_take_units_as_one_study(both):
    """The state of every group, and all policies."""
    folder, _ = both
    texts = []
    for name in ("whole", "units"):
        groups, summary = status.status(folder / name, time.time()).split("\n\n")[:2]
        texts.append(groups)
        assert "time left 0:00:00" in summary
    assert texts[0].count("2 of 2") == 2 and texts[1].count("2 of 2") == 4
    with small_world():
        whole, parts = (policies.load(folder / name)[1] for name in ("whole", "units"))
        unit = folder / "units" / "units" / "offline-0-runs-1-1"
        one = policies.load(unit / "checkpoints" / "online-0")[1]
    labels = [label for group in whole for label in group.labels]
    found = [label for group in parts for label in group.labels]
    assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, labels))
    assert [label["seed"] for label in one[0].labels] == [1]
    same = next(group for group in whole if "method" in group.labels[0])
    [place] = [i for i, label in enumerate(same.labels) if label["seed"] == 1]
    ours, theirs = take(one[0].states, 0), take(same.states, place)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_unit_is_measured_for_its_study(both):
    """At the states of the study's data, into the folder that its report looks in."""
    folder, _ = both
    unit = folder / "units" / "units" / "offline-0-runs-1-1"
    arguments = ["measure", f"--checkpoint={unit}", "--samples=8"]
    with small_world(), flagsaver.flagsaver():
        measure.main(flags.FLAGS(arguments))
    found = measured.read(folder / "units" / "measures")
    assert [run.labels["seed"] for run in found] == [1, 1]


def test_units_are_not_trained_again(both, capsys):
    """What is done is found; a unit that is missing is trained, the others stay."""
    folder, config = both
    out = folder / "units"
    before = rows_of(out)
    lost = out / "units" / "offline-0-runs-0-0"
    lost.rename(folder / "lost")
    times = {p: p.stat().st_mtime_ns for p in out.glob("units/*/checkpoints/*/*")}
    with small_world():
        sweep.run_study(config, out, resume=True)
    assert rows_of(out) == before
    after = {p: p.stat().st_mtime_ns for p in out.glob("units/*/checkpoints/*/*")}
    assert {path: after[path] for path in times} == times and len(after) > len(times)


def test_a_study_keeps_its_cut(both):
    """Another size of units, or units of what was begun whole, is one sentence."""
    folder, config = both
    for name, size, how in (("units", 2, "--unit_size=1"), ("whole", 1, "whole")):
        with small_world(), pytest.raises(ConfigError, match="was begun") as error:
            sweep.run_study(config, folder / name, resume=True, unit_size=size)
        assert how in str(error.value) and "\n" not in str(error.value)


def test_a_study_in_units_has_no_sink(both):
    """Nor has one that goes on, where nobody says again that it is in units."""
    folder, config = both
    with small_world(), pytest.raises(ConfigError, match=r"use experiments\.export"):
        sinks = ["tensorboard"]
        sweep.run_study(config, folder / "units", resume=True, sink_names=sinks)


def test_a_dry_run_says_what_would_run(data, tmp_path, monkeypatch):
    """Units, as the study was begun, groups, runs and steps; nothing is written."""
    monkeypatch.setattr(study_cost, "estimate", lambda configs: "Hours.")
    (tmp_path / "units.json").write_text('{"size": 1}')
    config = make_config(data / "small.npz")
    with small_world():
        text = dry_run.describe(config, tmp_path, None, LAUNCHERS["local"]({}))
    table, hours, how = text.split("\n\n")
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert [line[:4] for line in lines] == [
        [f"offline-0-runs-{unit}-{unit}", group, "1", steps]
        for unit in (0, 1)
        for group, steps in (("offline-0: iql", "4"), ("online-0: iql direct", "7"))
    ]
    assert all(float(line[4]) > 0 for line in lines)
    assert hours == "Hours." and how == "2 units, one after the other, in this process"
    assert [path.name for path in tmp_path.iterdir()] == ["units.json"]


# Launchers


def test_resources_are_numbers_and_names():
    texts = ["num_gpus=0.5", "slurm_partition=long", "exclusive=True"]
    assert parse_resources(texts) == {
        "num_gpus": 0.5,
        "slurm_partition": "long",
        "exclusive": True,
    }


@pytest.mark.parametrize(
    ("launcher", "resources", "parts"),
    [
        ("local", ["num_gpus=1"], ("--resources", "must be empty")),
        ("slurm", ["slurm_partitoin=a"], ("slurm_partitoin", "partition")),
        ("slurm", ["timeout_min=long"], ("timeout_min", "int", "long")),
        ("slurm", ["fast"], ("'fast'", "key=value")),
        ("slurm", ["=1"], ("'=1'", "key=value")),
    ],
)
def test_bad_resources_are_one_sentence(launcher, resources, parts):
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError) as error:
        LAUNCHERS[launcher](parse_resources(resources))
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_the_script_that_slurm_would_get(tmp_path):
    """An array with a task for each unit, and what the user asked for."""
    pytest.importorskip("submitit")
    launcher = slurm.Slurm({"timeout_min": 600, "slurm_partition": "gpu"})
    text = launcher.describe(tmp_path, [Unit("a", []), Unit("b", []), Unit("c", [])])
    for line in (
        "#SBATCH --array=0-2%3",
        "#SBATCH --time=600",
        "#SBATCH --partition=gpu",
        "#SBATCH --job-name=rpex",
    ):
        assert line in text.splitlines()
    assert f"{sys.executable} -u -m submitit.core._submit {tmp_path}" in text
    assert not list(tmp_path.iterdir())


def test_a_user_is_told_what_a_signal_costs(data, tmp_path, capsys):
    """Nobody can wait for chunks of other processes."""

    class Stopped:
        on_signal = slurm.Slurm.on_signal

        def __call__(self, out, units, check):
            os.kill(os.getpid(), signal.SIGTERM)
            check()

    config = make_config(data / "small.npz")
    with small_world(), pytest.raises(Interrupted):
        sweep.run_study(
            config, tmp_path / "out", resume=False, unit_size=1, launch=Stopped()
        )
    told = capsys.readouterr().err
    assert "each at the cost of its chunk in flight" in told and "saved" not in told
    assert [LAUNCHERS[name].on_signal == Stopped.on_signal for name in LAUNCHERS] == [
        name != "local" for name in LAUNCHERS
    ]


@pytest.mark.parametrize(("launcher", "package"), [("ray",) * 2, ("slurm", "submitit")])
def test_a_launcher_without_its_package(launcher, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install -e '\.\[{launcher}\]'"):
        LAUNCHERS[launcher]({})


def test_a_cluster_that_does_not_answer(tmp_path, monkeypatch):
    """What Ray says of it, in a sentence with the variable that names it."""

    def init(**options):
        raise ConnectionError("Could not find any running Ray instance.")

    ray = types.SimpleNamespace(init=init, remote=lambda **options: lambda task: task)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", "far:6379")
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS is 'far:6379'.*host:port"):
        LAUNCHERS["ray"]({})(tmp_path, [], lambda: None)


def test_a_job_may_meet_its_time_limit_often(tmp_path, monkeypatch):
    """More often than submitit lets it by itself."""
    submitit = pytest.importorskip("submitit")
    seen = []

    def look(executor, **parameters):
        seen.append(executor._executor.max_num_timeout)
        raise KeyboardInterrupt

    launch = slurm.Slurm({})
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda _: 1))
    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", look)
    with pytest.raises(KeyboardInterrupt):
        launch(tmp_path, [], lambda: None)
    assert seen == [slurm.TIMEOUTS] and slurm.TIMEOUTS > 3


@pytest.fixture(scope="module")
def hopper(data, tmp_path_factory):
    """A study of two pretrainings on real physics, whole: what launchers must match."""
    out = tmp_path_factory.mktemp("hopper") / "whole"
    config = make_config(data / "hopper.npz", chunks=6)
    sweep.run_study(config, out, resume=False)
    return config, rows_of(out)


@pytest.mark.slow
def test_submitit_with_its_own_local_executor(hopper, tmp_path):
    """Two processes of this machine, each with a unit."""
    pytest.importorskip("submitit")
    config, whole = hopper
    launch = slurm.Slurm({}, cluster="local")
    out = tmp_path / "out"
    sweep.run_study(config, out, resume=False, unit_size=1, launch=launch)
    assert_same(rows_of(out), whole)
    assert len(list((out / "jobs").glob("*_result.pkl"))) == 2


@pytest.mark.slow
def test_ray_with_a_killed_worker(hopper, tmp_path, monkeypatch):
    """Two workers; one is killed in the middle of its unit, which another takes up."""
    ray = pytest.importorskip("ray")
    config, whole = hopper
    killed: list[int] = []
    out = tmp_path / "out"

    def kill_one() -> None:
        """Called while the launcher waits."""
        rows = folders.read_rows(out)
        workers = [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if "ray::run_on_own_cores" in " ".join(process.info["cmdline"] or [])
        ]
        print(f"{time.strftime('%X')} rows {len(rows)}, workers {workers}", flush=True)
        if len(rows) >= 3 and not killed:
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])
            print(f"killed {workers[0]}", flush=True)

    ray.init(num_cpus=2, logging_level=logging.ERROR)
    try:
        launch = LAUNCHERS["ray"]({"num_cpus": 1})
        deferred = contextlib.nullcontext(kill_one)
        monkeypatch.setattr("experiments.interruption.deferred", lambda _: deferred)
        sweep.run_study(config, out, resume=False, unit_size=1, launch=launch)
    finally:
        ray.shutdown()
    assert killed
    assert_same(rows_of(out), whole)
