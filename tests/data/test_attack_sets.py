"""A file of perturbations comes back as it was."""

import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.data.attack_sets import AttackSet, load, save

VECTORS = [[0.3, -0.3, 0.1], [0.0, 1e-9, -0.123456789]]
ATTACK_SET = AttackSet(
    env="Hopper-v4",
    bound=0.3,
    vectors=np.asarray(VECTORS, np.float32),
    returns=np.array([812.25, 1031.123456789]),
    settings={"strategy": "best1bin", "population_size": 20, "crossover": 0.7},
    policy='runs/"hopper"], [/checkpoints/offline',
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "attacks.json"
    save(path, ATTACK_SET)
    return path


def load_hopper(path):
    return load(path, env_name="Hopper-v4", action_dim=3)


def test_it_comes_back(path):
    """Every bit of every number, from a file that a person and any JSON reader read."""
    loaded = load_hopper(path)
    for ours, saved in zip(loaded, ATTACK_SET, strict=True):
        np.testing.assert_array_equal(ours, saved)
    assert (loaded.vectors.dtype, loaded.returns.dtype) == (np.float32, np.float64)
    others = json.loads(path.read_text())["vectors"]
    np.testing.assert_allclose(others, VECTORS, rtol=1e-6)
    assert "  [0.0, 1e-09, -0.12345679]],\n" in path.read_text()
    assert os.listdir(path.parent) == [path.name]


def test_arrays_of_any_kind(tmp_path):
    """Device arrays, lists, whole numbers, and the path as text."""
    path = str(tmp_path / "attacks.json")
    given = ATTACK_SET._replace(vectors=jnp.asarray(VECTORS), returns=[812.25, 1031])
    save(path, given)
    np.testing.assert_array_equal(load_hopper(path).vectors, ATTACK_SET.vectors)
    save(path, ATTACK_SET._replace(bound=1, vectors=[[1, -1, 0]], returns=[5]))
    np.testing.assert_array_equal(load_hopper(path).vectors, [[1, -1, 0]])
