"""What `make` understands, and what its engines cannot do."""

import jax
import pytest

from rpex_jax import envs
from rpex_jax.envs.tasks import TASKS, load_model


def test_warp_says_what_to_install(monkeypatch):
    find = envs.mjx.importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *args: None if name == "warp" else find(name, *args),
    )
    with pytest.raises(ImportError, match=r"pip install warp-lang"):
        envs.make("Hopper-v4", "warp")


def test_warp_refuses_tasks_with_readings(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *args: object())
    with pytest.raises(ValueError, match=r"^Ant-v5 with engine 'warp': .*readings"):
        envs.make("Ant-v5", "warp")


@pytest.mark.parametrize(("backend", "name"), [("cpu", "mujoco"), ("gpu", "mjx")])
def test_the_engine_follows_the_device(backend, name, monkeypatch):
    """Decided when `make` is called."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert envs.make("InvertedPendulum-v5") is envs.make("InvertedPendulum-v5", name)


def test_same_arguments_same_functions():
    assert envs.make("Hopper-v4") is envs.make("Hopper-v4", "mujoco")
    assert hash(envs.make("Hopper-v4")) != hash(envs.make("Hopper-v5"))


def test_an_engine_of_ones_own_gets_the_body_of_the_task():
    calls = []

    def maker(*args):
        calls.append(args)
        return lambda state, control: (state, ())

    env = envs.make("Walker2d-v5", engine=maker)
    ((model, frame_skip, read),) = calls
    assert model.nq == load_model(TASKS["Walker2d-v5"]).nq
    assert (frame_skip, read) == (4, None)
    state = env.reset(jax.random.key(0))
    assert (env.step(state, jax.numpy.ones(6)).observation == state.observation).all()
