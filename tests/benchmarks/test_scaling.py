"""Costs against sizes: what is timed, where runs are cheapest, a protocol's hours."""

import numpy as np
import pytest

from benchmarks import programs, protocol_cost, scaling
from benchmarks.programs import Point
from benchmarks.protocol_cost import Item
from benchmarks.scaling import Plateau
from experiments import study_cost, study_inputs
from experiments.settings import ConfigError


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({1: 1.0, 4: 0.98, 16: 1.05, 64: 1.5}, Plateau(1, 16)),  # a full cache
        ({1: 9.0, 4: 3.0, 16: 1.04, 64: 1.0, 256: 1.05}, Plateau(16, 256)),  # lanes
        # cheap again beyond a rise is no plateau
        ({1: 1.0, 4: 2.0, 16: 1.01}, Plateau(1, 1)),
    ],
)
def test_runs_are_cheapest_where_their_cost_is_flat(costs, expected):
    assert scaling.plateau(costs) == expected


def test_axes_hold_what_was_asked_for():
    axes = scaling.axes_of(["iql", "riql", "pex"], [1, 4], [2, 20], [64], [1])
    assert [(axis, points[0].program) for axis, points in axes] == [
        *(("runs", "iql"), ("width", "iql")),
        *(("runs", "riql"), ("critics", "riql"), ("width", "riql")),
        ("runs", "pex"),
    ]
    assert axes[3][1] == [Point("riql", 1, 2, 256), Point("riql", 1, 20, 256)]
    (_, (axis, points)) = scaling.axes_of(["pex"], [1], [2], [64], [1, 2])
    assert axis == "devices"
    assert points == [Point("pex", 16, 2, 256, n) for n in (1, 2)]


def test_devices_are_those_that_there_are(monkeypatch):
    monkeypatch.setattr(scaling.jax, "local_device_count", lambda: 8)
    assert scaling.devices_of([]) == [1, 8]
    assert scaling.devices_of(["4", "2"]) == [2, 4]
    with pytest.raises(ConfigError, match="--devices is 1,16; this machine has 8"):
        scaling.devices_of(["1", "16"])
    monkeypatch.setattr(scaling.jax, "local_device_count", lambda: 1)
    assert scaling.devices_of([]) == [1]


@pytest.mark.parametrize("texts", [["0"], ["4", "x"], ["-1"], []])
def test_a_bad_number_is_named(texts):
    with pytest.raises(ConfigError, match=f"--runs is {','.join(texts)!r}"):
        scaling.numbers("--runs", texts)


def test_rows_of_two_programs(tmp_path, monkeypatch):
    """Costs are of one run, by its share of a round, in all that is written."""
    monkeypatch.setattr(scaling, "UPDATES", 2)
    monkeypatch.setattr(scaling, "training", lambda *_: None)
    times = np.array([[1.0, 4.0, 6.0], [2.0, 8.0, 8.0]])
    monkeypatch.setattr(scaling, "round_times", lambda *_: times)
    points = [Point("iql", runs, critics=2, width=8) for runs in (1, 3)]
    rows = [{"axis": "runs"} | row for row in scaling.measure(points, seconds=0.0)]
    assert [row["rounds_s"] for row in rows] == [[2.0, 4.0], [1.0, 8 / 6]]
    assert rows[1]["relative"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    flops = 1e9 * rows[0]["gflop_per_update"]
    assert flops > 0
    peak = 2 * scaling.updates.MATMUL_SIZE**3
    assert rows[0]["share_of_matmul"] == pytest.approx(flops / 2 / peak)
    assert scaling.rates(rows) == dict.fromkeys(("offline", "online"), flops / 1.0)
    text = scaling.report(rows)
    assert "| iql | 3 | 2 | 8 | 1 | 1 | 1000.00 | 1166.67 | 0.42 |" in text
    assert "a run costs least, within 10%, with 3 to 3 side by side" in text
    scaling.draw(rows, tmp_path / "scaling.png")
    assert [path.name for path in tmp_path.iterdir()] == ["scaling.png"]


@pytest.mark.slow
def test_a_program_is_that_of_its_point():
    """One that trains: runs, ensemble and width are as the point says."""
    point = Point("riql", runs=2, critics=3, width=8)
    env = study_inputs.make_env(programs.config_of(point))
    train = programs.training(point, env, study_cost.random_data(env.spec), 2)
    train()
    state, metrics = train()
    assert state.step.tolist() == [4, 4]
    kernel = state.agent.critic["params"]["VmapMLP_0"]["Dense_1"]["kernel"]
    assert kernel.shape == (2, 3, 8, 8)
    assert np.isfinite(metrics["critic/loss"]).all()


def test_the_whole_protocol(monkeypatch):
    """4 elements x 8 columns x 5 seeds of every task; hours by hand, of one item."""
    monkeypatch.setattr(protocol_cost, "TASKS", ("Hopper-v4",))
    monkeypatch.setattr(study_cost, "flops_per_update", lambda *args: 10)
    items, evaluated, env = protocol_cost.protocol()
    assert sum(item.runs for item in items if item.phase == "online") == 4 * 8 * 5
    assert sum(item.runs for item in items if item.phase == "offline") == 4 * 2 * 5
    assert all(item.flops == 10 * item.updates for item in items)
    # every 10 000 steps: 160 runs, after the warm-up, and 40 pretrainings
    assert evaluated == (160 * 100 + 40 * 200) * 10 * env.time_limit
    item = Item("offline", "iql", "all", runs=2, updates=10**6, flops=36 * 10**14)
    text = protocol_cost.arithmetic([item], {"offline": 1e9}, 7200_000, 1000.0)
    assert "| offline iql, all | 2 | 1 M | 3.60 | 1 | 1000.0 |" in text
    assert "7 M steps at 1000 a second: 2.0 hours. In all **1002 hours**" in text
