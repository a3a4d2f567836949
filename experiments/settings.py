"""Settings: finding one by its key, reading its value, and saying what is wrong."""

import difflib
import math
from typing import Any

import numpy as np
from ml_collections import ConfigDict


class ConfigError(ValueError):
    """A setting that cannot be used; one sentence: the key, the value, what may be."""


def check_types(config: ConfigDict, expected: ConfigDict) -> None:
    """Raises a `ConfigError` unless all settings of `expected` are there, of its types.

    Corruptions are a study's own, and what is None by default may be a number.
    """
    found = dict(flatten(config))
    for key, value in flatten(expected):
        if key.startswith("corruptions."):
            continue
        if key not in found:
            raise ConfigError(f"the setting {key!r} is missing; it must be there")
        if not is_like(found[key], value):
            raise ConfigError(f"{key} is {found[key]!r}; it must be {kind_of(value)}")


def is_like(value: Any, example: Any) -> bool:
    """Whether a value may stand in for the default."""
    if example is None:
        return value is None or is_like(value, 0.0)
    kind = int | float if isinstance(example, float) else type(example)
    return isinstance(value, kind) and isinstance(value, bool) == isinstance(
        example, bool
    )


def kind_of(example: Any) -> str:
    """What a setting must be, from its default, in words."""
    kinds = {bool: "true or false", int: "an integer", float: "a number"}
    kinds |= {str: "text", tuple: "a tuple, such as (1, 2)"}
    kinds |= {ConfigDict: "changed by its settings, one at a time"}
    return kinds.get(type(example), "a number or None")


def parse_setting(text: str) -> tuple[str, str]:
    """'online.rate=0.5' -> ('online.rate', '0.5')."""
    key, equals, value = str(text).partition("=")
    if not equals:
        raise ConfigError(f"setting {text!r} must read 'key=value'")
    return key.strip(), value.strip()


def parse_value(text: str, config: ConfigDict, key: str) -> Any:
    """The text as a value of the type that `key` has in the config."""
    current = look_up(config, key)
    if not key.startswith(PER_RUN) or not isinstance(current, int | float | str):
        raise ConfigError(
            f"{key} cannot differ between the runs of a study; numbers and names in "
            f"{', '.join(PER_RUN)} can"
        )
    return as_type(text, type(current), key)


def as_type(text: str, kind: type, key: str) -> Any:
    """The text as a value of this type, or a `ConfigError`."""
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(
            f"{key} is {text!r}; it must be of type {kind.__name__}"
        ) from error


# What a corruption's settings and further axes may change; all else is the study's.
PER_RUN = (
    "agent.",
    "expansion.",
    "mix.",
    "jsrl.",
    "bt.",
    "balance.",
    "offline.",
    "online.",
    "perturbation.",
    "curriculum.",
)


def look_up(config: ConfigDict, key: str) -> Any:
    """The value of 'online.rate' and the like, or a `ConfigError` with the nearest."""
    current: Any = config
    for part in key.split("."):
        if not isinstance(current, ConfigDict) or part not in current:
            near = difflib.get_close_matches(key, [k for k, _ in flatten(config)], n=1)
            here = ", ".join(current) if isinstance(current, ConfigDict) else "none"
            hint = f"did you mean {near[0]!r}?" if near else f"here there are {here}"
            raise ConfigError(f"there is no setting {key!r}; {hint}")
        current = current[part]
    return current


def flatten(config: ConfigDict, prefix: str = "") -> list[tuple[str, Any]]:
    """('online.rate', 0.5) and so on, for every setting."""
    pairs = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        is_group = isinstance(value, ConfigDict)
        pairs += flatten(value, f"{name}.") if is_group else [(name, value)]
    return pairs


INFINITY = math.inf
INT32_MAX, FLOAT32_MAX = 2**31 - 1, float(np.finfo(np.float32).max)


def check_values(
    config: ConfigDict, ranges: dict[str, tuple], names: dict[str, tuple]
) -> None:
    """Raises a `ConfigError` at the first number, name or width out of bounds."""
    for key, value in flatten(config):
        if key in ranges:
            low, high = ranges[key]
            # not (a <= b) rather than a > b: NaN must fail too
            if not low <= value <= high or not math.isfinite(value):
                raise ConfigError(f"{key} is {value}; it must lie in [{low}, {high}]")
            largest = INT32_MAX if isinstance(value, int) else FLOAT32_MAX
            if abs(value) > largest:
                raise ConfigError(f"{key} is {value}; it must be at most {largest}")
        if key in names:
            check_name(key, value, names[key])
        if key.endswith("hidden_dims"):
            check_each(key, value, 1, 1)


def is_interval(pair: tuple) -> bool:
    """Whether it is (low, high), low < high."""
    return (
        len(pair) == 2
        and all(is_like(number, 0.0) and math.isfinite(number) for number in pair)
        and pair[0] < pair[1]
    )


def check_each(
    key: str, values: tuple, example: int | float, low: float, many: bool = True
) -> None:
    """Raises a `ConfigError` unless all values are like the example and at least low.

    Where there must be `many`, there must be one at least.
    """
    fine = all(is_like(x, example) and low <= x < INFINITY for x in values)
    if not fine or (many and not values):
        kind = "integers" if isinstance(example, int) else "finite numbers"
        raise ConfigError(f"{key} is {values}; it must hold {kind} of {low} or more")


def check_name(key: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raises a `ConfigError` unless the value is one of those allowed."""
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        names = ", ".join(name or "''" for name in allowed)
        raise ConfigError(f"{key} is {value!r}; {hint}allowed are {names}")


def check_multiple(key: str, chunk: int, steps: int, what: str = "") -> None:
    """Raises a `ConfigError` unless the steps are whole chunks."""
    if steps < chunk or steps % chunk:
        raise ConfigError(
            f"{key} is {chunk}; the {steps} steps {what}must be whole chunks"
        )
