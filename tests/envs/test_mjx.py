"""The MJX engine as a function; that it moves bodies rightly is in `test_parity`."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from rpex_jax import envs
from rpex_jax.envs.mjx import mjx_engine
from rpex_jax.envs.physics import PhysicsState, host_engine

# The engine of a small task, whose program `test_parity` compiles as well.
ENV = envs.make("InvertedDoublePendulum-v5", "mjx")


def states(count):
    state = jax.vmap(ENV.reset)(jax.random.split(jax.random.key(0), count))
    return state, jax.random.uniform(jax.random.key(1), (count, 1), minval=-1.0)


@pytest.fixture(scope="module")
def step():
    return jax.jit(jax.vmap(ENV.step))


@pytest.mark.parametrize("fault", ["position", "velocity", "control", "too fast"])
def test_unsound_state_is_nan_and_alone(fault, step):
    state, action = states(4)
    expected = step(state, action)
    physics = state.physics
    if fault == "position":
        physics = physics._replace(qpos=physics.qpos.at[2, 1].set(jnp.nan))
    elif fault == "velocity":
        physics = physics._replace(qvel=physics.qvel.at[2, 0].set(-jnp.inf))
    elif fault == "too fast":
        physics = physics._replace(qvel=physics.qvel.at[2, 1].set(1e9))
    else:
        action = action.at[2].set(jnp.nan)
    after = step(state._replace(physics=physics), action)
    assert np.isnan(np.concatenate(jax.tree.leaves(after.physics), axis=1)[2]).all()
    assert np.isnan(after.readings[2]).all()
    assert after.failed.tolist() == [False, False, True, False]
    others = np.array([0, 1, 3])
    for got, want in zip(*map(jax.tree.leaves, (after, expected)), strict=True):
        np.testing.assert_array_equal(got[others], want[others])


def test_loops_equal_single_steps(step):
    state, action = states(4)
    looped = state
    for _ in range(3):
        looped = step(looped, action)

    @jax.jit
    def loops(state):
        def until(state, time):
            many = jax.vmap(ENV.step)
            more = lambda s: s.time[0] < time  # noqa: E731
            return jax.lax.while_loop(more, lambda s: many(s, action), state), None

        return jax.lax.scan(until, state, jnp.arange(1, 4))[0]

    for one, other in zip(*map(jax.tree.leaves, (looped, loops(state))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_engines_can_be_swapped_in_the_middle(step):
    """One `EnvState` for all; the warm start is for MJX alone."""
    state, action = states(4)
    after = jax.vmap(envs.make(ENV.name, "mujoco").step)(step(state, action), action)
    again = step(after, action)
    assert not after.physics.qacc_warmstart.any()
    assert again.physics.qacc_warmstart.any()
    assert (again.time == 3).all()


def test_traced_once():
    """However many programs use it, of whatever version of the task."""
    reads = []

    def read(data):
        reads.append(data)
        return (data.xpos[1],)

    model = envs.tasks.load_model(envs.TASKS["InvertedPendulum-v5"])
    engine = mjx_engine(model, 2, read)
    reads.clear()
    state = PhysicsState(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2))
    for scale in range(3):
        jax.make_jaxpr(lambda s, scale=scale: engine(s, scale * jnp.ones(1)))(state)
    traced = sum(not isinstance(data, mujoco.MjData) for data in reads)
    assert traced == 1


@pytest.mark.parametrize("name", ["Ant-v4", "InvertedDoublePendulum-v4"])
def test_versions_share_an_engine(name):
    """Versions that move alike; Ant's do not, as one reads contacts."""
    moves = [envs.make(f"{name[:-1]}{i}", "mjx").step.args[2] for i in (4, 5)]
    assert (moves[0] is moves[1]) == name.startswith("Inverted")


def test_refuses_what_it_cannot_do():
    ball = """
    <mujoco>
      <worldbody><body><joint type="ball"/><geom size="1"/></body></worldbody>
    </mujoco>"""
    with pytest.raises(ValueError, match="ball joint"):
        mjx_engine(mujoco.MjModel.from_xml_string(ball), 1)
    implicit = """
    <mujoco>
      <option integrator="implicitfast"/>
      <worldbody><body><joint/><geom size="1"/></body></worldbody>
    </mujoco>"""
    with pytest.raises(ValueError, match="Euler and RK4"):
        mjx_engine(mujoco.MjModel.from_xml_string(implicit), 1)


def test_steep_capsules_rub_as_in_c():
    """MJX turns the friction pyramid of a capsule that stands nearly upright."""
    xml = """
    <mujoco>
      <option integrator="Euler" timestep="0.01"/>
      <worldbody>
        <geom type="plane" size="5 5 1"/>
        <body pos="0 0 0.37" euler="15 20 30">
          <freejoint/><geom type="capsule" size="0.1 0.3" friction="0.3"/>
        </body>
      </worldbody>
      <actuator/>
    </mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    state = PhysicsState(
        jnp.asarray(model.qpos0, jnp.float32),
        jnp.array([0.7, 0.3, -0.5, 0.0, 0.0, 0.0]),
        jnp.zeros(6),
    )
    engines = [make(model, 3) for make in (host_engine, mjx_engine)]
    (want, _), (got, _) = (jax.jit(engine)(state, jnp.zeros(0)) for engine in engines)
    assert abs(want.qvel[2] + 0.5 + 0.03 * 9.81) > 0.1  # it touches the plane
    np.testing.assert_allclose(got.qvel, want.qvel, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got.qpos, want.qpos, rtol=1e-5, atol=1e-5)


def test_warp_steps_as_c_does():
    """Where it is installed; it runs on a CPU too, in float32."""
    pytest.importorskip("warp", reason="needs warp-lang: pip install -e '.[warp]'")
    host, warp = (envs.make("Hopper-v5", engine) for engine in ("mujoco", "warp"))
    state = jax.vmap(host.reset)(jax.random.split(jax.random.key(0), 4))
    step = jax.jit(jax.vmap(warp.step))
    for action in jax.random.uniform(jax.random.key(1), (5, 4, 3), minval=-1.0):
        after, state = step(state, action), jax.vmap(host.step)(state, action)
        for field in ("observation", "reward", "terminated"):
            found, expected = getattr(after, field), getattr(state, field)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
