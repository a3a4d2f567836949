"""Nothing here may compile: a user waits for no program to be told of a mistake."""

import jax
import pytest

_COMPILED: list[str] = []


def _note(event: str, seconds: float, **about) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED.append(about.get("fun_name", "?"))


jax.monitoring.register_event_duration_secs_listener(_note)


@pytest.fixture
def compiled() -> list[str]:
    """Names of the programs that the test compiled so far, also from the cache."""
    return _COMPILED


@pytest.fixture(autouse=True)
def nothing_compiles(request):
    """Fails a test that has compiled anything.

    A module may name `OPERATIONS` that stand alone, such as the stacking of numbers.
    """
    _COMPILED.clear()
    yield
    allowed = {f"jit({name})" for name in getattr(request.module, "OPERATIONS", ())}
    assert set(_COMPILED) <= allowed
