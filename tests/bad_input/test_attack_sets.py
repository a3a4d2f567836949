"""Attack sets that are no such file, that are wrong, or of another world."""

import json
import math

import numpy as np
import pytest

from experiments import attack_sets as of_studies
from experiments import evaluate, study
from experiments.configs.default import default_config
from experiments.settings import ConfigError
from rpex_jax.data.attack_sets import AttackSet, AttackSetError, load, save
from tests import diagnostic
from tests.bad_input.sentence import Says, assert_says
from tests.data.test_attack_sets import ATTACK_SET, path

__all__ = ["path"]  # a fixture

NAN, INF = math.nan, math.inf


def problem(path, env_name="Hopper-v4", action_dim=3) -> str:
    with pytest.raises(AttackSetError) as error:
        load(path, env_name=env_name, action_dim=action_dim)
    return str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("bound", 0, Says("has 0 as", "'bound'", "one number in (0, 1]")),
        ("bound", 1.5, Says("has 1.5 as", "'bound'", "in (0, 1]")),
        ("bound", -0.3, Says("has -0.3 as", "'bound'", "in (0, 1]")),
        ("bound", "0.3", Says("a 'bound'", "of the wrong form", "one number in")),
        ("bound", True, Says("a 'bound'", "of the wrong form", "one number in")),
        ("bound", None, Says("a 'bound'", "of the wrong form", "one number in")),
        ("bound", [0.3], Says("a 'bound'", "of the wrong form", "one number in")),
        ("bound", NAN, Says("has NaN or infinity in", "'bound'", "must be finite")),
        ("bound", 0.2, Says("0.3 in row 0, column 0", "'vectors'", "[-0.2, 0.2]")),
        (
            "vectors",
            [[0, 0, 0], [0, 0, -0.31]],
            Says("has -0.31", "row 1, column 2 of 'vectors'", "[-0.3, 0.3]"),
        ),
        ("vectors", [[0, 0, 0], [0, NAN, 0]], Says("NaN", "'vectors'", "be finite")),
        ("vectors", [[0, 0, 0], [0, -INF, 0]], Says("inf", "'vectors'", "be finite")),
        ("vectors", [], Says("is empty", "'vectors'", "must be rows of numbers")),
        ("vectors", [[], []], Says("is empty", "'vectors'", "must be rows of numb")),
        ("vectors", [0.1, 0.2], Says("a 'vectors'", "the wrong form", "must be rows")),
        ("vectors", [[0.1, 0.2], [0.1]], Says("a 'vectors'", "wrong form", "be rows")),
        ("vectors", [["a", "b", "c"]], Says("a 'vectors'", "wrong form", "be rows")),
        ("vectors", {"a": 1}, Says("a 'vectors'", "the wrong form", "must be rows")),
        ("vectors", [[0, 0, 0]] * 3, Says("2 'returns'", "3 'vectors'", "as many")),
        ("returns", [1.0], Says("1 'returns'", "2 'vectors'", "must be as many")),
        ("returns", [1.0, 2.0, 3.0], Says("3 'returns'", "2 'vectors'", "as many")),
        ("returns", [1.0, INF], Says("infinity", "'returns'", "must be finite")),
        ("returns", [], Says("is empty", "'returns'", "one for each vector")),
        ("returns", 5.0, Says("a 'returns'", "wrong form", "one for each vector")),
        ("env", 4, Says("has 4 as", "'env'", "text, a Gymnasium id")),
        ("settings", "fast", Says("'fast' as", "'settings'", "an object")),
        ("policy", None, Says("None as", "'policy'", "must be text")),
    ],
)
def test_a_field_that_cannot_be(path, field, value, expected):
    """Neither a file with it is loaded, nor is such a set written over a good file."""
    before = path.read_text()
    with pytest.raises(AttackSetError) as error:
        save(path, ATTACK_SET._replace(**{field: value}))
    assert_says(error.value, expected)
    assert path.read_text() == before

    path.write_text(json.dumps(json.loads(before) | {field: value}))
    text = problem(path)
    assert_says(text, expected)
    assert text.startswith(f"{path} ")


@pytest.mark.parametrize("field", AttackSet._fields)
def test_a_field_that_is_missing(path, field):
    fields = json.loads(path.read_text())
    del fields[field]
    path.write_text(json.dumps(fields))
    says = Says(f"{path} has no field", repr(field), "an attack set has 'env', 'bound'")
    assert_says(problem(path), says)


@pytest.mark.parametrize("settings", [{"a": np.ones(3)}, {"a": NAN}, {(1, 2): 3}])
def test_settings_that_json_cannot_hold(tmp_path, settings):
    with pytest.raises(AttackSetError) as error:
        save(tmp_path / "attacks.json", ATTACK_SET._replace(settings=settings))
    assert_says(error.value, Says("attacks.json", "'settings'", "JSON cannot hold"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["none.json", "no/such.json", "."])
def test_no_file(path, place):
    text = problem(path.parent / place)
    assert_says(text, Says(str(path.parent), "cannot be read", "an attack set's file"))


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_a_file_that_is_cut_short(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    says = Says(f"{path} is no JSON", "cut short", "make the set again")
    assert_says(problem(path), says)


@pytest.mark.parametrize("content", [b"\x89HDF\xff", b"a: 1\n", b"{'env': 1}"])
def test_a_file_of_another_format(path, content):
    path.write_bytes(content)
    says = Says(f"{path} is no JSON", "cut short", "make the set again")
    assert_says(problem(path), says)


@pytest.mark.parametrize("content", ["[1, 2]", "null", '"text"', "3"])
def test_other_json(path, content):
    path.write_text(content)
    says = Says(f"{path} is no attack set", "", "it must hold one JSON object")
    assert_says(problem(path), says)


@pytest.mark.parametrize(
    ("env_name", "action_dim", "expected"),
    [
        ("Hopper-v5", 3, Says("has 'Hopper-v4' as 'env'", "", "must be 'Hopper-v5'")),
        ("Ant-v4", 8, Says("has 'Hopper-v4' as 'env'", "", "it must be 'Ant-v4'")),
        ("Hopper-v4", 6, Says("'vectors'", "of 3 actions", "Hopper-v4 has 6")),
    ],
)
def test_a_set_for_something_else(path, env_name, action_dim, expected):
    text = problem(path, env_name, action_dim)
    assert_says(text, expected)
    assert text.startswith(f"{path} ")


# Where they are named


@pytest.mark.parametrize(
    ("file", "bound", "expected"),
    [
        ("good", 0.3, Says("--bound is 0.3", "good.json", "found within 0.5; leave")),
        ("wide", None, Says("wide.json has", "'vectors' of 2 actions", "has 1")),
        ("other", None, Says("other.json has 'Hopper-v4'", "'env'", "'target_reward'")),
        ("none", None, Says("none.json", "cannot be read", "give an attack set's")),
    ],
)
def test_what_an_evaluation_is_given(tmp_path, file, bound, expected):
    env = diagnostic.target_reward()
    found = AttackSet("target_reward", 0.5, np.zeros((1, 1)), np.zeros(1), {}, "")
    save(tmp_path / "good.json", found)
    save(tmp_path / "wide.json", found._replace(vectors=np.zeros((1, 2))))
    save(tmp_path / "other.json", found._replace(env="Hopper-v4"))
    with pytest.raises((ConfigError, AttackSetError)) as error:
        evaluate.read_attack_set(env, str(tmp_path / f"{file}.json"), bound)
    assert_says(error.value, expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"env": "Hopper-v4"}, Says("set.json has", "'Hopper-v4'", "'target_reward'")),
        (
            {"bound": 0.5},
            Says("perturbation.bound is 0.3", "set.json", "0.5"),
        ),
    ],
)
def test_what_a_study_is_given(tmp_path, change, expected):
    """Before anything trains."""
    env = diagnostic.target_reward()
    found = AttackSet("target_reward", 0.3, np.zeros((1, 1)), np.zeros(1), {}, "")
    save(tmp_path / "set.json", found._replace(**change))
    config = default_config()
    config.sweep.base, config.sweep.corruption = ("iql",), ("clean",)
    config.perturbation.kind = "adversarial"
    config.perturbation.attack_set = str(tmp_path / "set.json")
    runs = study.expand_grid(config)
    with pytest.raises((ConfigError, AttackSetError)) as error:
        of_studies.check_given(env, runs)
    assert_says(error.value, expected)
    save(tmp_path / "set.json", found)
    of_studies.check_given(env, runs)
