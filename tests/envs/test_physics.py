"""The host engine, with and without readings: transformations, unsound states."""

import os
import subprocess
import sys
import threading

import chex
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from rpex_jax.envs import make, physics, tasks
from rpex_jax.envs.physics import PhysicsState, host_engine
from rpex_jax.training.evaluation import episode_returns

TASK = tasks.TASKS["Hopper-v4"]
MODEL = tasks.load_model(TASK)


def last_stage(data):
    """Something that is no function of the new state."""
    return data.xpos[1:], data.qfrc_constraint


# Without readings `mujoco.rollout` steps, with them `mj_step`; else nothing differs.
READ = {"rollout": None, "mj_step": last_stage}
READINGS = {
    kind: host_engine(MODEL, TASK.frame_skip, read) for kind, read in READ.items()
}
both = pytest.mark.parametrize("kind", READ)


def engine(kind):
    """Positions and velocities alone."""
    return lambda state, control: READINGS[kind](state, control)[0]


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
    return data.qpos, data.qvel, [*data.xpos[1:].ravel(), *data.qfrc_constraint]


@both
def test_matches_mujoco_stepped_by_hand(kind):
    state, control = states(5)
    after, readings = jax.jit(jax.vmap(READINGS[kind]))(state, control)
    for i in range(5):
        qpos, qvel, read = mujoco_step(state.qpos[i], state.qvel[i], control[i])
        # The engine computes the same float64 numbers and rounds them once.
        if kind == "mj_step":
            np.testing.assert_array_equal(readings[i], np.float32(read))
        np.testing.assert_array_equal(after.qpos[i], qpos.astype(np.float32))
        np.testing.assert_array_equal(after.qvel[i], qvel.astype(np.float32))
    assert after.qpos.dtype == after.qvel.dtype == jnp.float32
    assert not after.qacc_warmstart.any()
    assert kind == "mj_step" or readings == ()


@both
def test_alone_batched_and_nested_are_equal(kind):
    state, control = states(6)
    step = engine(kind)
    batched = jax.jit(jax.vmap(step))(state, control)
    fold = lambda a: a.reshape(2, 3, -1)  # noqa: E731
    nested = jax.jit(jax.vmap(jax.vmap(step)))(jax.tree.map(fold, state), fold(control))
    for i in range(6):
        alone = step(jax.tree.map(lambda a, i=i: a[i], state), control[i])
        for one, many, grid in zip(alone, batched, nested, strict=True):
            np.testing.assert_array_equal(one, many[i])
            np.testing.assert_array_equal(one, grid[i // 3, i % 3])


def test_where_memory_is_not_numpys(monkeypatch):
    """Other platforms than the CPU have a pure callback, which gives the same."""

    def choose_default(*args, cpu, default):
        del cpu
        return default(*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", choose_default)
    portable = jax.vmap(host_engine(MODEL, TASK.frame_skip))
    assert "pure_callback" in str(jax.make_jaxpr(portable)(*states(7)))
    in_place = jax.vmap(READINGS["rollout"])
    chex.assert_trees_all_equal(
        jax.jit(portable)(*states(7)), jax.jit(in_place)(*states(7))
    )


def test_vmap_over_controls_alone():
    state, control = states(3)
    first = jax.tree.map(lambda a: a[0], state)
    step = engine("rollout")
    after = jax.vmap(step, in_axes=(None, 0))(first, control)
    np.testing.assert_array_equal(after.qpos[0], step(first, control[0]).qpos)
    assert not np.array_equal(after.qpos[0], after.qpos[1])


def test_scan_equals_while_loop_equals_python():
    state, control = states(4)
    step = jax.vmap(engine("rollout"))
    looped = state
    for _ in range(10):
        looped = step(looped, control)
    scanned, _ = jax.jit(
        lambda s: jax.lax.scan(lambda s, _: (step(s, control), None), s, length=10)
    )(state)
    whiled, _ = jax.jit(
        lambda s: jax.lax.while_loop(
            lambda c: c[1] < 10, lambda c: (step(c[0], control), c[1] + 1), (s, 0)
        )
    )(state)
    np.testing.assert_array_equal(looped.qpos, scanned.qpos)
    np.testing.assert_array_equal(looped.qpos, whiled.qpos)


def unsound(fault: str) -> tuple[PhysicsState, jax.Array]:
    """A batch of four whose third member is broken."""
    state, control = states(4)
    if fault == "nan control":
        return state, control.at[2, 0].set(jnp.nan)
    entry, value = {
        "nan position": ("qpos", jnp.nan),
        "infinite velocity": ("qvel", -jnp.inf),
        "huge position": ("qpos", 1e11),  # past MuJoCo's limit: reset at once
        "diverges": ("qvel", 3e7),  # sound at first; its accelerations are not
    }[fault]
    return state._replace(**{entry: getattr(state, entry).at[2, 3].set(value)}), control


@pytest.mark.parametrize("frame_skip", [1, 4])
@pytest.mark.parametrize("read", READ.values(), ids=READ)
@pytest.mark.parametrize(
    "fault",
    ["nan position", "infinite velocity", "huge position", "diverges", "nan control"],
)
def test_unsound_state_is_nan_and_alone(
    fault, read, frame_skip, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    step = jax.vmap(host_engine(MODEL, frame_skip, read))
    (expected, wanted), (after, readings) = step(*states(4)), step(*unsound(fault))
    others = np.array([0, 1, 3])
    for field in ("qpos", "qvel"):
        got, want = getattr(after, field), getattr(expected, field)
        assert np.isnan(got[2]).all()
        np.testing.assert_array_equal(got[others], want[others])
    if read:
        assert np.isnan(readings[2]).all()
        np.testing.assert_array_equal(readings[others], wanted[others])
    assert not list(tmp_path.iterdir()), "MuJoCo wrote its log"
    assert "unstable" not in "".join(capfd.readouterr())


@pytest.fixture
def simulated(monkeypatch):
    """How many states each call of `rollout` simulates, as a list that grows."""
    pool, counts = physics._pool(), []

    class Counting:
        nthread = pool.nthread

        def rollout(self, models, *args, **kwargs):
            counts.append(len(models))
            return pool.rollout(models, *args, **kwargs)

    monkeypatch.setattr(physics, "_pool", Counting)
    return counts


def test_what_is_not_finite_is_not_simulated(simulated):
    """The others come back as if it were not there, and in their places."""
    state, control = states(6)
    step = jax.vmap(engine("rollout"))
    clean = jax.block_until_ready(step(state, control))
    bad = jnp.array([True, False, False, True, False, True])
    some = state._replace(qvel=jnp.where(bad[:, None], jnp.nan, state.qvel))
    after = jax.block_until_ready(step(some, control))
    none = jax.block_until_ready(step(state, control * jnp.nan))
    assert simulated == [6, 3]
    np.testing.assert_array_equal(after.qpos[~bad], clean.qpos[~bad])
    assert np.isnan(after.qpos[bad]).all() and np.isnan(none.qpos).all()


def test_an_evaluation_does_not_simulate_what_has_ended(simulated):
    """Of 12 falling Hoppers each is simulated until it falls, and no longer."""
    env = make("Hopper-v4")
    starts = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 12))
    actions = jnp.linspace(-1, 1, 12)[:, None] * jnp.array([1.0, -1.0, 1.0])
    jax.block_until_ready(episode_returns(env, starts, lambda time, seen: actions))
    lengths, states_, alive = np.zeros(12, int), starts, np.ones(12, bool)
    number = len(simulated)
    while alive.any():
        lengths += alive
        states_ = jax.vmap(env.step)(states_, actions)
        alive &= ~np.asarray(states_.terminated)
    assert len(set(lengths)) > 1
    expected = [(lengths > time).sum() for time in range(lengths.max())]
    assert simulated[:number] == expected


def test_one_bad_substep_out_of_many_is_seen():
    """Divergence shows whichever of the physics steps it happens in."""
    state, control = states(1)
    state = state._replace(qvel=state.qvel.at[0, 3].set(3e7))
    for frame_skip in (1, 2, 7):
        after, _ = jax.vmap(host_engine(MODEL, frame_skip))(state, control)
        finite = np.isfinite(np.concatenate([*after[:2]], axis=-1))
        assert not finite.any()


def test_past_the_limit_on_the_last_substep():
    """A state that MuJoCo would only reset at the start of the next step."""
    state, control = states(2)
    state = state._replace(
        qpos=state.qpos.at[0, 0].set(9.99e9), qvel=state.qvel.at[0, 0].set(9e9)
    )
    after, _ = jax.vmap(host_engine(MODEL, 1))(state, control)
    assert np.isnan(after.qpos[0]).all() and np.isfinite(after.qpos[1]).all()


@both
def test_concurrent_callbacks(kind):
    state, control = states(64)
    step = jax.jit(jax.vmap(engine(kind)))
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
import sys
import rpex_jax.envs.episodes
from rpex_jax import envs
envs.make("Ant-v5", "mujoco")
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
assert envs.physics._pool.cache_info().currsize == 0
assert envs.physics._executor.cache_info().currsize == 0
assert "mujoco.mjx" not in sys.modules
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
    devices = {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    environment = os.environ | devices
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, env=environment, timeout=300)
