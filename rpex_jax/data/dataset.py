"""A data set as one pytree of host arrays, and the checks that a file must pass."""

from collections.abc import Mapping
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from rpex_jax.types import Transition

TOLERANCE = 1e-5  # how far rounding may carry an action past its bounds
RANKS = {"observations": 2, "actions": 2, "next_observations": 2}  # all others: 1
FLAGS = ("terminals", "timeouts", "terminations", "episode_ends")


class DatasetError(ValueError):
    """Data that cannot be used; one sentence: file, field, place and what to do."""


class Dataset(NamedTuple):
    """Recorded experience on the host, episodes one after the other; a pytree."""

    transitions: Transition  # float32, [N, ...]
    episode_ends: np.ndarray  # bool, [N]: terminal, time limit or end of the recording


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    source: str,
    *,
    action_range: tuple[ArrayLike, ArrayLike] = (-1.0, 1.0),
    drop_observation_columns: tuple[int, ...] = (),
) -> Dataset:
    """Checks the arrays of a file (see `validate`) and makes a data set of them.

    A last episode that is marked by neither flag ends with the data.

    Raises:
      DatasetError: at the first thing wrong.
    """
    return assemble(validate(arrays, source, action_range, drop_observation_columns))


def validate(
    arrays: Mapping[str, np.ndarray],
    source: str,
    action_range: tuple[ArrayLike, ArrayLike] = (-1.0, 1.0),
    drop_observation_columns: tuple[int, ...] = (),
) -> dict[str, np.ndarray]:
    """The fields of a file, checked, as float32, with actions in [-1, 1].

    Args:
      arrays: `observations`, `next_observations` [N, d], `actions` [N, a], `rewards`,
        `terminals` (the task ended) and `timeouts` (the recording ended) [N].
      source: what the errors call the data; mostly the path of the file.
      action_range: lowest and highest action, one for all dimensions or [a], mapped
        to -1 and 1.
      drop_observation_columns: columns of the observations to leave out.

    Raises:
      DatasetError: at the first thing wrong; rows are counted as in `arrays`.
    """
    low, high = _interval(action_range)
    names = [*Transition._fields[:-1], "terminals", "timeouts"]
    if missing := [name for name in names if name not in arrays]:
        _fail(
            source,
            f"has no field {_listed(missing)}, only {_listed(arrays)}; "
            f"it must have {_listed(names)}",
        )
    arrays = {name: _to_float32(arrays[name], name, source) for name in names}
    for name in ("observations", "next_observations"):
        arrays[name] = _drop(arrays[name], drop_observation_columns, name, source)
    _check(arrays, source, low, high)
    if not (arrays["terminals"].any() or arrays["timeouts"].any()):
        _fail(
            source,
            "has no episode ends: set 'terminals' to 1 where the task ended and "
            "'timeouts' to 1 where a time limit or the recording ended an episode",
        )
    scaled = (2 * arrays["actions"] - (high + low)) / (high - low)
    return arrays | {"actions": np.clip(scaled, -1.0, 1.0)}


def assemble(arrays: Mapping[str, np.ndarray]) -> Dataset:
    """The data set of fields that `validate` passed."""
    fields = [arrays[name] for name in Transition._fields[:-1]]
    episode_ends = (arrays["terminals"] + arrays["timeouts"]) > 0
    episode_ends[-1] = True
    return Dataset(Transition(*fields, arrays["terminals"]), episode_ends)


def check(dataset: Dataset, source: str = "the data set") -> Dataset:
    """The data set as NumPy arrays of the right types, or a `DatasetError`."""
    arrays = dict(dataset.transitions._asdict(), episode_ends=dataset.episode_ends)
    arrays = {name: _to_float32(x, name, source) for name, x in arrays.items()}
    _check(arrays, source, -1.0, 1.0)
    episode_ends = arrays.pop("episode_ends") > 0
    loose = (arrays["terminations"] > 0) & ~episode_ends
    if loose.any() or not episode_ends[-1]:
        row = np.argmax(loose) if loose.any() else len(loose) - 1
        _fail(source, f"must have 'episode_ends' true in row {row}, an episode's last")
    return Dataset(Transition(**arrays), episode_ends)


def episode_returns(dataset: Dataset) -> np.ndarray:
    """The sum of rewards of every episode, float64 [E]."""
    starts = np.r_[0, np.flatnonzero(dataset.episode_ends)[:-1] + 1]
    return np.add.reduceat(np.asarray(dataset.transitions.rewards, np.float64), starts)


def episode_slices(dataset: Dataset, source: str = "the data set") -> list[slice]:
    """The rows of every episode.

    Raises:
      DatasetError: an episode's next observation is not the observation of the row
        after, so that no layout with one observation a step can hold the data.
    """
    observations, *_, next_observations, _ = dataset.transitions
    broken = (observations[1:] != next_observations[:-1]).any(-1)
    broken &= ~dataset.episode_ends[:-1]
    if broken.any():
        row = np.argmax(broken)
        _fail(
            source,
            f"has 'next_observations' in row {row} that differ from 'observations' in "
            f"row {row + 1} of the same episode; mark the break in 'episode_ends'",
        )
    stops = np.flatnonzero(dataset.episode_ends) + 1
    return [slice(*bounds) for bounds in zip([0, *stops], stops, strict=False)]


def _check(
    arrays: Mapping[str, np.ndarray], source: str, low: ArrayLike, high: ArrayLike
) -> None:
    """Raises a `DatasetError` unless shapes and values are right."""
    rows = len(arrays["rewards"]) if arrays["rewards"].ndim else 0
    for name, array in arrays.items():
        rank = RANKS.get(name, 1)
        if array.ndim != rank or array.shape[1:] == (0,):
            wanted = "[N, width]" if rank == 2 else "[N]"
            _fail(source, f"has {name!r} of shape {array.shape}; it must be {wanted}")
        if len(array) != rows:
            _fail(
                source,
                f"has {len(array)} rows of {name!r} but {rows} of 'rewards'; "
                "every field must have one row a transition",
            )
    if not rows:
        _fail(source, "is empty: its fields have 0 rows; it must hold transitions")
    if (shape := arrays["observations"].shape) != arrays["next_observations"].shape:
        _fail(
            source,
            f"has 'next_observations' of shape {arrays['next_observations'].shape}; "
            f"it must be that of 'observations', {shape}",
        )
    for name, array in arrays.items():
        bad = _bad_rows(~np.isfinite(array))
        if bad.size:
            _fail(
                source,
                f"has NaN or infinity in {bad.size} rows of {name!r}, first in row "
                f"{bad[0]}; repair or remove the rows",
            )
        bad = _bad_rows((array != 0) & (array != 1)) if name in FLAGS else bad
        if bad.size:
            _fail(
                source,
                f"has {array[bad[0]]:g} in row {bad[0]} of {name!r}; only 0 and 1 "
                f"are allowed there ({bad.size} rows are wrong)",
            )
    actions = arrays["actions"]
    for bound in (low, high):
        if np.shape(bound) not in ((), actions.shape[1:]):
            _fail(
                "action_range",
                f"has {np.size(bound)} bounds, but {source} has {actions.shape[1]} "
                "'actions'; there must be one, or one for each",
            )
    slack = TOLERANCE * (high - low) / 2
    outside = (actions < low - slack) | (actions > high + slack)
    bad = _bad_rows(outside)
    if bad.size:
        row, column = np.argwhere(outside)[0]
        low, high = (
            np.broadcast_to(x, actions.shape)[row, column] for x in (low, high)
        )
        _fail(
            source,
            f"has {actions[row, column]:g} in row {row}, column {column} of 'actions', "
            f"outside [{low:g}, {high:g}] ({bad.size} rows are); pass action_range="
            "(low, high), the environment's bounds, to have actions scaled to [-1, 1]",
        )


def _interval(bounds: tuple[ArrayLike, ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest action, checked."""
    try:
        low, high = (np.asarray(bound, np.float32) for bound in bounds)
        fine = (low < high).all() and np.isfinite(high - low).all()
    except (TypeError, ValueError):
        fine = False
    if not fine:
        _fail("action_range", f"is {bounds}, but must be (low, high), low < high")
    return low, high


def _to_float32(array: np.ndarray, name: str, source: str) -> np.ndarray:
    try:
        array = np.asarray(array)
        if array.dtype.kind in "biuf":
            with np.errstate(over="ignore"):  # becomes infinity, which is reported
                return array.astype(np.float32, copy=False)
    except (TypeError, ValueError):  # rows of different lengths
        array = np.asarray(None)
    _fail(source, f"has {name!r} of type {array.dtype}; it must be float32")


def _drop(
    array: np.ndarray, columns: tuple[int, ...], name: str, source: str
) -> np.ndarray:
    width = array.shape[-1] if array.ndim else 0
    for column in columns:
        if not (isinstance(column, int) and -width <= column < width):
            _fail(source, f"has no column {column} in {name!r} to drop, only {width}")
    return np.delete(array, columns, axis=-1) if columns else array


def _bad_rows(bad: np.ndarray) -> np.ndarray:
    return np.flatnonzero(bad.reshape(len(bad), -1).any(-1))


def _listed(names: Mapping | list) -> str:
    return ", ".join(map(repr, names)) or "none"


def _fail(source: str, problem: str) -> NoReturn:
    raise DatasetError(f"{source} {problem}.")
