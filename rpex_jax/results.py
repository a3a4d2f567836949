"""Rows of results on disk, and the numbers that are compared.

A row is one chunk of one run: its labels, the phase, the step, metrics, and the raw
return of every evaluation episode under `returns` where the chunk was evaluated.
"""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which is there whole or not at all.

    It has a temporary name until it is on disk, and is removed if writing fails.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Writes a file of text whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())


def append_rows(path: Path, rows: Iterable[dict]) -> None:
    """Adds JSON lines; NaN and infinity become null, which JSON has."""
    with open(path, "a") as file:
        file.writelines(json.dumps(_finite(row)) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> list[dict]:
    """The rows of a file; a last line that was cut off while writing is left out.

    Raises:
      ResultsError: another line is no row, or it is no file.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(
            f"{path} cannot be read ({error}); it must be a file of rows in JSON"
        ) from error
    rows = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ResultsError(
                f"{path} has {line[:40]!r} in line {number}; it must be a row in JSON, "
                "so remove the line"
            ) from error
        if not isinstance(rows[-1], dict):
            raise ResultsError(
                f"{path} has {line[:40]!r} in line {number}; a row is a JSON object"
            )
    return rows


class ResultsError(ValueError):
    """A file of results that cannot be read; one sentence."""


def keep_rows(path: Path, keep: Callable[[dict], bool]) -> None:
    """Removes the rows that are not to be kept."""
    rows = [json.dumps(row) for row in read_rows(path) if keep(row)]
    write_atomically(path, "".join(row + "\n" for row in rows))


class Summary(NamedTuple):
    """A score over seeds."""

    mean: float
    standard_error: float  # of the mean over seeds; NaN for one seed
    count: int  # seeds


def summarise(values: Sequence[float]) -> Summary:
    """Mean and standard error, std (n - 1) / sqrt(n), in float64."""
    values = np.asarray(values, np.float64)
    count = len(values)
    if count < 2:
        return Summary(float(values.mean()), math.nan, count)
    return Summary(
        float(values.mean()), float(values.std(ddof=1)) / math.sqrt(count), count
    )


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; numbers come as text."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def final_score(curve: Sequence[tuple[int, float]], last: int = 3) -> float:
    """Mean of the last evaluations of a run, pairs of (step, score).

    Source: RPEX, arXiv 2509.24748, appendix C.1: the last three.
    """
    return float(np.mean([score for _, score in sorted(curve)[-last:]]))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
