"""A file of perturbations comes back as it was, or one sentence says why not."""

import json
import os
import re

import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.data.attack_sets import AttackSet, AttackSetError, load, save

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


def assert_one_sentence(error):
    assert str(error).endswith(".") and "\n" not in str(error)
    assert str(error).count(". ") == 0


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


@pytest.mark.parametrize(
    ("env_name", "action_dim", "message"),
    [
        ("Hopper-v5", 3, "has 'Hopper-v4' as 'env'; here it must be 'Hopper-v5'"),
        ("Ant-v4", 8, "has 'Hopper-v4' as 'env'; here it must be 'Ant-v4'"),
        ("Hopper-v4", 6, "has 'vectors' of 3 actions; Hopper-v4 has 6"),
    ],
)
def test_a_set_for_something_else(path, env_name, action_dim, message):
    with pytest.raises(AttackSetError, match=message) as error:
        load(path, env_name=env_name, action_dim=action_dim)
    assert_one_sentence(error.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("bound", 0, r"has 0 as 'bound'; it must be one number in \(0, 1\]"),
        ("bound", 1.5, r"has 1.5 as 'bound'"),
        ("bound", -0.3, r"has -0.3 as 'bound'"),
        ("bound", "0.3", r"a 'bound' of the wrong form; it must be one number"),
        ("bound", True, r"a 'bound' of the wrong form"),
        ("bound", np.nan, r"has NaN or infinity in 'bound'"),
        ("bound", 0.2, r"has 0.3 in row 0, column 0 of 'vectors'; .* \[-0.2, 0.2\]"),
        ("vectors", [[0, 0, 0], [0, 0, -0.31]], r"has -0.31 in row 1, column 2"),
        ("vectors", [[0, 0, 0], [0, np.nan, 0]], r"NaN or infinity in 'vectors'"),
        ("vectors", [[0, 0, 0], [0, -np.inf, 0]], r"NaN or infinity in 'vectors'"),
        ("vectors", [], r"is empty: 'vectors' must be rows of numbers, one for each"),
        ("vectors", [[], []], r"is empty: 'vectors'"),
        ("vectors", [0.1, 0.2], r"a 'vectors' of the wrong form; it must be rows"),
        ("vectors", [[0.1, 0.2], [0.1]], r"a 'vectors' of the wrong form"),
        ("vectors", [["a", "b", "c"]], r"a 'vectors' of the wrong form"),
        ("vectors", [[0, 0, 0]] * 3, r"has 2 'returns' and 3 'vectors'"),
        ("returns", [1.0], r"has 1 'returns' and 2 'vectors'; there must be as many"),
        ("returns", [1.0, 2.0, 3.0], r"has 3 'returns' and 2 'vectors'"),
        ("returns", [1.0, np.inf], r"NaN or infinity in 'returns'"),
        ("returns", [], r"is empty: 'returns' must be numbers, one for each vector"),
        ("returns", 5.0, r"a 'returns' of the wrong form"),
        ("env", 4, r"has 4 as 'env'; it must be text, a Gymnasium id"),
        ("settings", "fast", r"has 'fast' as 'settings'; it must be an object"),
        ("policy", None, r"has None as 'policy'; it must be text"),
    ],
)
def test_a_field_that_cannot_be(path, field, value, message):
    """Neither a file with it is loaded, nor is such a set written over a good file."""
    before = path.read_text()
    with pytest.raises(AttackSetError, match=message) as error:
        save(path, ATTACK_SET._replace(**{field: value}))
    assert_one_sentence(error.value)
    assert path.read_text() == before

    path.write_text(json.dumps(json.loads(before) | {field: value}))
    with pytest.raises(AttackSetError, match=f"^{re.escape(str(path))} .*{message}"):
        load_hopper(path)


@pytest.mark.parametrize("field", AttackSet._fields)
def test_a_field_that_is_not_there(path, field):
    fields = json.loads(path.read_text())
    del fields[field]
    path.write_text(json.dumps(fields))
    message = f"has no field '{field}'; an attack set has 'env', 'bound', 'vectors'"
    with pytest.raises(AttackSetError, match=message):
        load_hopper(path)


def test_settings_that_json_cannot_hold(tmp_path):
    for settings in ({"crossover": jnp.ones(3)}, {"crossover": float("nan")}):
        with pytest.raises(AttackSetError, match="'settings' that JSON cannot hold"):
            save(tmp_path / "attacks.json", ATTACK_SET._replace(settings=settings))
    assert os.listdir(tmp_path) == []


def test_files_that_are_none(path):
    """Not there, a folder, cut off anywhere, not text, and other JSON."""
    text = path.read_bytes()
    for there in (path.with_name("none.json"), path.parent):
        with pytest.raises(AttackSetError, match=r"cannot be read .*attack set's file"):
            load_hopper(there)
    for damaged in [text[:cut] for cut in (0, 1, 40, len(text) - 3)] + [b"\x89HDF\xff"]:
        path.write_bytes(damaged)
        with pytest.raises(AttackSetError, match=r"is no JSON.* cut short") as error:
            load_hopper(path)
        assert_one_sentence(error.value)
    for other in ("[1, 2]", "null", '"text"'):
        path.write_text(other)
        with pytest.raises(AttackSetError, match="it must hold one JSON object"):
            load_hopper(path)
