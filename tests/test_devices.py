"""Runs over devices: a process of its own with eight, since their number is fixed
when JAX starts."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from rpex_jax import results
from rpex_jax.devices import compile_for, cut, fill, run_mesh
from tests import on_devices
from tests.experiments.tiny import write_data

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("runs", "devices", "used"),
    [(1, 8, 1), (3, 8, 3), (8, 8, 8), (9, 8, 5), (12, 8, 6), (13, 8, 7), (64, 8, 8)],
)
def test_a_mesh_is_as_small_as_costs_nothing(monkeypatch, runs, devices, used):
    """The largest share is ceil(runs / devices); no device has nothing but copies."""
    monkeypatch.setattr(jax, "local_devices", lambda: [object()] * devices)
    monkeypatch.setattr("rpex_jax.devices.Mesh", lambda array, names: array)
    mesh = run_mesh(runs)
    assert mesh.size == used
    share = -(-runs // devices)
    assert share * used >= runs > share * (used - 1)


def test_fill_and_cut():
    """The last run again, until there are as many; and back."""
    tree = {"a": np.arange(8.0).reshape(4, 2), "none": None}
    filled = fill(tree, 3)
    np.testing.assert_array_equal(filled["a"], tree["a"][[0, 1, 2, 3, 3, 3]])
    np.testing.assert_array_equal(cut(filled, 4)["a"], tree["a"])
    assert filled["none"] is None
    assert fill(tree, 4) == tree


def test_one_device_takes_the_plain_program():
    """No mesh, and a mesh of one: the same compiled text."""
    texts = [
        compile_for(mesh, lambda x, y: x + y, (0, None))
        .lower(np.ones(2), 1.0)
        .as_text()
        for mesh in (None, run_mesh(1), Mesh(jax.local_devices()[:1], ("run",)))
    ]
    assert texts[0] == texts[1] == texts[2]


def in_a_process(arguments, environment):
    """What Python prints there."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def on_eight(*arguments):
    """What Python prints with so many devices."""
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    }
    return in_a_process(arguments, environment)


def rows_of(out):
    rows = results.read_rows(out / "chunks.jsonl")
    return [{k: v for k, v in r.items() if not k.startswith("wall/")} for r in rows]


SHARES = """
import jax, jax.numpy as jnp
from rpex_jax.devices import compile_for, cut, fill, run_mesh, share, spread

mesh = run_mesh(13)
chunk = compile_for(mesh, lambda x, y: (jnp.cumsum(x, 1) + y, x), (0, None), (0,))
states = fill(jnp.arange(26.0).reshape(13, 2), mesh.size)
text = chunk.lower(states, 1.0).compile().as_text()
assert mesh.size == 7 and "f32[2,2]" in text and "all-" not in text, text
states, _ = chunk(chunk(states, 1.0)[0], 1.0)
expected = jnp.cumsum(jnp.cumsum(jnp.arange(26.0).reshape(13, 2), 1) + 1, 1) + 1
assert (cut(states, 13) == expected).all()

# before any call, each device has its own runs, and all of what is shared
parts = spread(jnp.arange(13), mesh).addressable_shards
shares = [part.data.tolist() for part in parts]
assert (shares[0], shares[1], shares[6]) == ([0, 1], [2, 3], [12, 12])
parts = share(jnp.arange(3), mesh).addressable_shards
assert [part.data.tolist() for part in parts] == [[0, 1, 2]] * 7
"""


def test_each_device_has_its_share():
    """13 runs on seven of eight devices, two on each; they come back as they went."""
    on_eight("-c", SHARES)


TIMED = """
import sys
from absl import flags
from benchmarks import programs
from experiments import study_cost, study_inputs

flags.FLAGS(sys.argv[:1])
for name in ("iql", "pex"):
    point = programs.Point(name, runs=3, critics=2, width=8, devices=2)
    env = study_inputs.make_env(programs.config_of(point))
    train = programs.training(point, env, study_cost.random_data(env.spec), 2)
    train()
    shares = [x.data.tolist() for x in train()[0].step.addressable_shards]
    print(name, shares)
"""


@pytest.mark.slow
def test_what_is_timed_is_on_as_many_devices_as_asked_for():
    """Two of eight, the second with a copy; so do estimates time what will train.

    Two chunks of two updates; online after as many steps, and the warm-up's two.
    """
    shares = "[[4, 4], [4, 4]]", "[[6, 6], [6, 6]]"
    assert on_eight("-c", TIMED) == f"iql {shares[0]}\npex {shares[1]}"


CORES = """
import jax
from experiments.command_line import use_cores

use_cores(3)
print(jax.local_device_count())
"""


@pytest.mark.parametrize(
    ("chosen", "devices"),
    [
        ({}, "3"),
        ({"JAX_NUM_CPU_DEVICES": "2"}, "2"),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}, "1"),
    ],
)
def test_a_cpu_is_a_device_a_core_unless_the_user_chose(chosen, devices):
    unset = {"JAX_NUM_CPU_DEVICES", "XLA_FLAGS"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    assert in_a_process(["-c", CORES], kept | chosen) == devices


@pytest.mark.parametrize(
    ("engine", "widths"),
    [
        pytest.param("diagnostic", (1, 1), marks=pytest.mark.slow),
        pytest.param("mujoco", (11, 3), marks=pytest.mark.slow),
        pytest.param("mjx", (11, 3), marks=pytest.mark.slow),
    ],
)
def test_eight_devices_give_what_one_gives(tmp_path, engine, widths):
    """Run by run; 13 and 26 runs leave copies on the last of seven devices, of which
    nothing is seen. What eight devices saved after a chunk online, one takes up."""
    data, whole, both = tmp_path / "data.npz", tmp_path / "one", tmp_path / "both"
    write_data(data, *widths)
    on_devices.study(data, whole, engine)
    one = rows_of(whole)
    assert len(one) == 2 * (13 + 26)
    on_eight("-m", "tests.on_devices", data, both, engine, 3)
    assert len(rows_of(both)) == 2 * 13 + 26
    assert_same(one[: 2 * 13 + 26], rows_of(both))
    on_devices.study(data, both, engine)
    assert_same(one, rows_of(both))


def assert_same(rows, others):
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            if isinstance(value, float | list):
                assert value == pytest.approx(other[name], rel=1e-4, abs=1e-6), name
            else:
                assert value == other[name], name
