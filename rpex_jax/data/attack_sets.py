"""A set of perturbations found against a policy: a JSON file, checked when loaded."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from rpex_jax.results import write_atomically

KINDS = {
    "env": "text, a Gymnasium id",
    "bound": "one number in (0, 1]",
    "vectors": "rows of numbers, one for each action",
    "returns": "numbers, one for each vector",
    "settings": "an object",
    "policy": "text",
}


class AttackSetError(ValueError):
    """A set that cannot be used; one sentence: file, field and what is allowed."""


class AttackSet(NamedTuple):
    """Perturbations of actions, and what they do to one policy."""

    env: str  # Gymnasium id, such as Hopper-v4; v5 is another environment
    bound: float  # epsilon, in (0, 1]; every coordinate lies in [-bound, bound]
    vectors: np.ndarray  # float32, [K, action_dim]; an action a becomes a (1 + vector)
    returns: np.ndarray  # float64, [K], mean return of the policy under each vector
    settings: dict[str, Any]  # of the search
    policy: str  # what was attacked; mostly the path of a checkpoint


def save(path: str | os.PathLike, attack_set: AttackSet) -> None:
    """Writes the file, whole or not at all.

    Raises:
      AttackSetError: at the first thing that `load` would not accept.
    """
    source = os.fspath(path)
    attack_set = _checked(attack_set._asdict(), source)
    # The shortest text of a float32: 0.3 and not 0.30000001192092896.
    vectors = [[float(str(x)) for x in vector] for vector in attack_set.vectors]
    fields = attack_set._replace(vectors=vectors, returns=attack_set.returns.tolist())
    try:
        lines = {
            name: json.dumps(value, allow_nan=False)
            for name, value in fields._asdict().items()
        }
    except (TypeError, ValueError) as error:
        _fail(source, f"would have 'settings' that JSON cannot hold ({error})")
    lines["vectors"] = lines["vectors"].replace("], [", "],\n  [")
    text = ",\n".join(f' "{name}": {line}' for name, line in lines.items())
    write_atomically(Path(path), f"{{\n{text}\n}}\n")


def load(path: str | os.PathLike, *, env_name: str, action_dim: int) -> AttackSet:
    """Reads a file that `save` wrote, for use in an environment.

    Args:
      path: of the file.
      env_name: Gymnasium id of the environment.
      action_dim: width of its actions.

    Raises:
      AttackSetError: no such file, not JSON, a field that is missing or wrong, or a
        set of another environment.
    """
    source = os.fspath(path)
    try:
        fields = json.loads(Path(path).read_text())
    except OSError as error:
        _fail(source, f"cannot be read ({error.strerror}); give an attack set's file")
    except ValueError as error:
        _fail(source, f"is no JSON, it may be cut short ({error}); make the set again")
    if not isinstance(fields, dict):
        _fail(source, "is no attack set: it must hold one JSON object")
    attack_set = _checked(fields, source)
    if attack_set.env != env_name:
        _fail(source, f"has {attack_set.env!r} as 'env'; here it must be {env_name!r}")
    if (width := attack_set.vectors.shape[1]) != action_dim:
        _fail(source, f"has 'vectors' of {width} actions; {env_name} has {action_dim}")
    return attack_set


def _checked(fields: Mapping[str, Any], source: str) -> AttackSet:
    """The set with arrays of the right types, or an `AttackSetError`."""
    if missing := [name for name in AttackSet._fields if name not in fields]:
        _fail(
            source,
            f"has no field {', '.join(map(repr, missing))}; an attack set has "
            f"{', '.join(map(repr, AttackSet._fields))}",
        )
    for name, kind in (("env", str), ("settings", dict), ("policy", str)):
        if not isinstance(fields[name], kind):
            _fail(source, f"has {fields[name]!r} as {name!r}; it must be {KINDS[name]}")
    bound = float(_numbers(fields, "bound", 0, source))
    vectors = _numbers(fields, "vectors", 2, source).astype(np.float32)
    returns = _numbers(fields, "returns", 1, source).astype(np.float64)
    if not 0 < bound <= 1:
        _fail(source, f"has {bound:g} as 'bound'; it must be {KINDS['bound']}")
    if len(returns) != len(vectors):
        _fail(
            source,
            f"has {len(returns)} 'returns' and {len(vectors)} 'vectors'; there must be "
            "as many",
        )
    outside = np.argwhere(np.abs(vectors) > np.float32(bound))
    if outside.size:
        row, column = outside[0]
        _fail(
            source,
            f"has {vectors[row, column]:g} in row {row}, column {column} of 'vectors'; "
            f"its 'bound' allows [{-bound:g}, {bound:g}]",
        )
    env, settings, policy = fields["env"], fields["settings"], fields["policy"]
    return AttackSet(env, bound, vectors, returns, settings, policy)


def _numbers(
    fields: Mapping[str, Any], name: str, rank: int, source: str
) -> np.ndarray:
    """A field as an array of finite numbers."""
    try:
        array = np.asarray(fields[name])
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if rank and not array.size:
        _fail(source, f"is empty: {name!r} must be {KINDS[name]}")
    if array.ndim != rank or array.dtype.kind not in "iuf":
        _fail(source, f"has a {name!r} of the wrong form; it must be {KINDS[name]}")
    if not np.isfinite(array).all():
        _fail(source, f"has NaN or infinity in {name!r}; every number must be finite")
    return array


def _fail(source: str, problem: str) -> NoReturn:
    raise AttackSetError(f"{source} {problem}.")
