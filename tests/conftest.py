"""Every test shares one compilation cache, so that a second run compiles little."""

from pathlib import Path

import jax
import pytest

jax.config.update(
    "jax_compilation_cache_dir", str(Path(__file__).parents[1] / ".jax_cache")
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="module", autouse=True)
def free_programs():
    """Compiled programs take memory maps, of which Linux gives a process 65 530.

    With those of all modules together XLA ends in a segmentation fault.
    """
    yield
    jax.clear_caches()
