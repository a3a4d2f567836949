"""The host engine under transformations, and with states that are not sound."""

import os
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from rpex_jax.envs import tasks
from rpex_jax.envs.physics import PhysicsState, host_engine

TASK = tasks.TASKS["Hopper-v4"]
MODEL = tasks.load_model(TASK)
ENGINE = host_engine(MODEL, TASK.frame_skip)


def states(count: int) -> tuple[PhysicsState, jax.Array]:
    """Different states near the initial one, and controls."""
    rng = np.random.default_rng(0)
    qpos = MODEL.qpos0 + rng.uniform(-0.05, 0.05, (count, MODEL.nq))
    qvel = rng.uniform(-1, 1, (count, MODEL.nv))
    control = rng.uniform(-1, 1, (count, MODEL.nu))
    arrays = [jnp.asarray(a, jnp.float32) for a in (qpos, qvel, 0 * qvel, control)]
    return PhysicsState(*arrays[:3]), arrays[3]


def mujoco_step(qpos, qvel, control):
    """What MuJoCo does when it is stepped by hand, in float64."""
    data = mujoco.MjData(MODEL)
    data.qpos, data.qvel, data.ctrl = qpos, qvel, control
    mujoco.mj_step(MODEL, data, TASK.frame_skip)
    return data.qpos, data.qvel


def test_matches_mujoco_stepped_by_hand():
    state, control = states(5)
    after = jax.jit(jax.vmap(ENGINE))(state, control)
    for i in range(5):
        qpos, qvel = mujoco_step(state.qpos[i], state.qvel[i], control[i])
        # The engine computes the same float64 numbers and rounds them once.
        np.testing.assert_array_equal(after.qpos[i], qpos.astype(np.float32))
        np.testing.assert_array_equal(after.qvel[i], qvel.astype(np.float32))
    assert after.qpos.dtype == after.qvel.dtype == jnp.float32
    assert not after.qacc_warmstart.any()


def test_alone_batched_and_nested_are_equal():
    state, control = states(6)
    batched = jax.jit(jax.vmap(ENGINE))(state, control)
    fold = lambda a: a.reshape(2, 3, -1)  # noqa: E731
    nested = jax.jit(jax.vmap(jax.vmap(ENGINE)))(
        jax.tree.map(fold, state), fold(control)
    )
    for i in range(6):
        alone = ENGINE(jax.tree.map(lambda a, i=i: a[i], state), control[i])
        for one, many, grid in zip(alone, batched, nested, strict=True):
            np.testing.assert_array_equal(one, many[i])
            np.testing.assert_array_equal(one, grid[i // 3, i % 3])


def test_vmap_over_controls_alone():
    state, control = states(3)
    first = jax.tree.map(lambda a: a[0], state)
    after = jax.vmap(ENGINE, in_axes=(None, 0))(first, control)
    np.testing.assert_array_equal(after.qpos[0], ENGINE(first, control[0]).qpos)
    assert not np.array_equal(after.qpos[0], after.qpos[1])


def test_scan_equals_while_loop_equals_python():
    state, control = states(4)
    engine = jax.vmap(ENGINE)
    looped = state
    for _ in range(10):
        looped = engine(looped, control)
    scanned, _ = jax.jit(
        lambda s: jax.lax.scan(lambda s, _: (engine(s, control), None), s, length=10)
    )(state)
    whiled, _ = jax.jit(
        lambda s: jax.lax.while_loop(
            lambda c: c[1] < 10, lambda c: (engine(c[0], control), c[1] + 1), (s, 0)
        )
    )(state)
    np.testing.assert_array_equal(looped.qpos, scanned.qpos)
    np.testing.assert_array_equal(looped.qpos, whiled.qpos)


def unsound(kind: str) -> tuple[PhysicsState, jax.Array]:
    """A batch of four whose third member is broken."""
    state, control = states(4)
    if kind == "nan control":
        return state, control.at[2, 0].set(jnp.nan)
    entry, value = {
        "nan position": ("qpos", jnp.nan),
        "infinite velocity": ("qvel", -jnp.inf),
        "huge position": ("qpos", 1e11),  # past MuJoCo's limit: reset at once
        "diverges": ("qvel", 3e7),  # sound at first; its accelerations are not
    }[kind]
    return state._replace(**{entry: getattr(state, entry).at[2, 3].set(value)}), control


@pytest.mark.parametrize("frame_skip", [1, 4])
@pytest.mark.parametrize(
    "kind",
    ["nan position", "infinite velocity", "huge position", "diverges", "nan control"],
)
def test_unsound_state_is_nan_and_alone(kind, frame_skip, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    engine = jax.vmap(host_engine(MODEL, frame_skip))
    expected, after = engine(*states(4)), engine(*unsound(kind))
    others = np.array([0, 1, 3])
    for field in ("qpos", "qvel"):
        got, want = getattr(after, field), getattr(expected, field)
        assert np.isnan(got[2]).all()
        np.testing.assert_array_equal(got[others], want[others])
    assert not list(tmp_path.iterdir()), "MuJoCo wrote its log"
    assert "unstable" not in "".join(capfd.readouterr())


def test_one_bad_substep_out_of_many_is_seen():
    """Divergence shows whichever of the physics steps it happens in."""
    state, control = states(1)
    state = state._replace(qvel=state.qvel.at[0, 3].set(3e7))
    for frame_skip in (1, 2, 7):
        after = jax.vmap(host_engine(MODEL, frame_skip))(state, control)
        finite = np.isfinite(np.concatenate([*after[:2]], axis=-1))
        assert not finite.any()


def test_past_the_limit_on_the_last_substep():
    """A state that MuJoCo would only reset at the start of the next step."""
    state, control = states(2)
    state = state._replace(
        qpos=state.qpos.at[0, 0].set(9.99e9), qvel=state.qvel.at[0, 0].set(9e9)
    )
    after = jax.vmap(host_engine(MODEL, 1))(state, control)
    assert np.isnan(after.qpos[0]).all() and np.isfinite(after.qpos[1]).all()


def test_concurrent_callbacks():
    state, control = states(64)
    step = jax.jit(jax.vmap(ENGINE))
    inputs = [state._replace(qvel=state.qvel * i) for i in range(4)]
    expected = [np.asarray(step(s, control).qpos) for s in inputs]
    results = [[] for _ in inputs]

    def work(i):
        for _ in range(20):
            results[i].append(np.asarray(step(inputs[i], control).qpos))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    for want, got in zip(expected, results, strict=True):
        assert len(got) == 20
        for array in got:
            np.testing.assert_array_equal(array, want)


def test_refuses_models_with_more_state():
    xml = """
    <mujoco>
      <worldbody><body><joint name="j"/><geom size="1"/></body></worldbody>
      <actuator><general joint="j" dyntype="integrator"/></actuator>
    </mujoco>"""
    with pytest.raises(ValueError, match="positions and"):
        host_engine(mujoco.MjModel.from_xml_string(xml), 1)


def test_making_an_environment_touches_no_device():
    code = """
import rpex_jax.envs.episodes
from rpex_jax import envs
envs.make("Hopper-v4")
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
assert envs.physics._pool.cache_info().currsize == 0
"""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.slow
def test_shards_call_back_at_once():
    """Several devices in one program: callbacks arrive together, nothing hangs."""
    code = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from rpex_jax import envs
env = envs.make("HalfCheetah-v4")
def run(key):
    state = jax.vmap(env.reset)(jax.random.split(key[0], 512))
    def body(state, _):
        return jax.vmap(env.step)(state, jnp.ones((512, 6))), None
    return jax.lax.scan(body, state, length=50)[0].observation[None]
mesh = Mesh(np.array(jax.devices()), ("run",))
sharded = jax.shard_map(
    run, mesh=mesh, in_specs=P("run"), out_specs=P("run"), check_vma=False
)
keys = jax.random.split(jax.random.key(0), 4)
got = jax.jit(sharded)(keys)
for i in range(4):
    want = jax.jit(run)(keys[i : i + 1])[0]
    np.testing.assert_allclose(got[i], want, rtol=1e-4, atol=1e-4)
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    environment = os.environ | flags | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, env=environment, timeout=300)
