"""A small data set that the tests of the data layer share."""

import numpy as np
import pytest

from rpex_jax.data import sources
from rpex_jax.data.dataset import from_arrays


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Four contiguous episodes; the first and third terminate, the others time out."""
    rng = np.random.default_rng(0)
    paths = [rng.normal(size=(length + 1, 3)) for length in (4, 1, 6, 3)]
    stops = np.array([3, 4, 10, 13])
    fields = {
        "observations": np.concatenate([path[:-1] for path in paths]),
        "actions": rng.uniform(-1, 1, (14, 2)),
        "rewards": rng.normal(size=14),
        "next_observations": np.concatenate([path[1:] for path in paths]),
        "terminals": np.isin(np.arange(14), stops[::2]),
        "timeouts": np.isin(np.arange(14), stops[1::2]),
    }
    return {name: field.astype(np.float32) for name, field in fields.items()}


@pytest.fixture
def dataset(arrays):
    return from_arrays(arrays, "example")


@pytest.fixture
def minari_root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


@pytest.fixture
def builtin(tmp_path, monkeypatch):
    """A folder that stands for the package's own data sets."""
    folder = tmp_path / "builtin"
    folder.mkdir()
    monkeypatch.setattr(sources, "_builtin", lambda: folder)
    return folder
