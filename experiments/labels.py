"""The labels of runs, which tell them apart, as cells of a table."""

from collections.abc import Iterable
from typing import Any


def label_names(rows: Iterable[Any]) -> list[str]:
    """The labels that any run has; rows have a dictionary `labels`."""
    return list(dict.fromkeys(name for row in rows for name in row.labels))


def label_cells(labels: dict[str, Any], names: list[str]) -> list[str]:
    """A cell for each name, empty where a run has no such label."""
    return [str(labels.get(name, "")) for name in names]
