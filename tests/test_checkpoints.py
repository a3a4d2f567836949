"""Checkpoints on disk: the same bits back, the last complete one, no other."""

import os
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rpex_jax import checkpoints
from rpex_jax.agents import AGENTS
from rpex_jax.agents.riql import RIQLConfig
from rpex_jax.data.buffer import make_buffer
from rpex_jax.expansion import ExpansionConfig, policy_set
from rpex_jax.training import online
from rpex_jax.training.offline import OfflineState
from tests import diagnostic
from tests.training.problems import HIDDEN, make_run


def online_state(seed: int = 0) -> online.OnlineState:
    """A policy set with its optimisers, a buffer and an environment in mid-episode.

    Every float is replaced by noise, some by values that text would not keep.
    """
    env, config = (
        diagnostic.delayed_reward(),
        ExpansionConfig(RIQLConfig(hidden_dims=HIDDEN)),
    )
    agent = policy_set(AGENTS["riql"])
    state = online.start(
        agent.init(jax.random.key(seed), env.spec, config),
        env,
        make_buffer(10, 4),
        make_run(seed, config),
    )
    rng = np.random.default_rng(seed)

    def noise(x):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x + rng.integers(0, 100) if x.dtype == jnp.int32 else x
        values = rng.normal(size=x.shape).astype(np.float32)
        if values.size > 3:
            values.flat[:4] = [np.nan, -np.inf, 1e-42, -0.0]
        return jnp.asarray(values)

    return jax.tree.map(noise, state)


def assert_same_bits(one, other):
    chex.assert_trees_all_equal_shapes_and_dtypes(one, other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_round_trip_keeps_every_bit(tmp_path):
    """Weights, both Adam moments and counts, buffer, environment: all of it comes back.

    NaN, infinities, denormals and the sign of zero included.
    """
    state = online_state()
    checkpoints.save(tmp_path / "group", 3, state)
    restored = checkpoints.restore(
        tmp_path / "group", 3, jax.eval_shape(lambda: online_state())
    )
    assert jax.tree.structure(state) == jax.tree.structure(restored)
    assert_same_bits(state, restored)
    moments = state.agent.base.critic_optimizer
    assert jax.tree.leaves(moments.mu) and jax.tree.leaves(moments.nu)


def test_only_the_last_is_kept(tmp_path):
    """Saving removes what came before; a long sweep does not fill the disk."""
    folder, state = tmp_path / "group", {"x": jnp.arange(3.0)}
    assert checkpoints.latest(folder) is None
    for chunk in (1, 2, 10):
        checkpoints.save(folder, chunk, {"x": state["x"] + chunk})
        assert checkpoints.latest(folder) == chunk
    assert [path.name for path in folder.iterdir() if path.name.isdigit()] == ["10"]
    np.testing.assert_array_equal(
        checkpoints.restore(folder, 10, state)["x"], np.arange(3.0) + 10
    )


def test_half_written_checkpoints_are_not_found(tmp_path):
    """What a kill left under a temporary name is no checkpoint, and does no harm."""
    folder, state = tmp_path / "group", {"x": jnp.arange(3.0)}
    checkpoints.save(folder, 1, state)
    complete = folder / "1"
    half = folder / "2.orbax-checkpoint-tmp"
    shutil.copytree(complete, half)
    (half / "_CHECKPOINT_METADATA").unlink(missing_ok=True)
    assert checkpoints.latest(folder) == 1
    np.testing.assert_array_equal(
        checkpoints.restore(folder, 1, state)["x"], state["x"]
    )
    checkpoints.save(folder, 2, {"x": state["x"] + 1})
    assert checkpoints.latest(folder) == 2
    assert "2" in os.listdir(folder)


def test_restored_runs_keep_their_run_axis(tmp_path):
    """States of a sweep have a leading axis; integers and flags keep their types."""
    state = OfflineState(
        agent={"w": jnp.ones((3, 2, 2)), "count": jnp.arange(3)},
        statistics=(jnp.zeros((3, 1)), jnp.zeros(3, bool)),
        step=jnp.arange(3, dtype=jnp.int32),
    )
    checkpoints.save(tmp_path / "group", 1, state)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    restored = checkpoints.restore(tmp_path / "group", 1, like)
    assert_same_bits(state, restored)
    assert isinstance(restored, OfflineState)
