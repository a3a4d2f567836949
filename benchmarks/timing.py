"""Times of several things taken in turn."""

import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

REPEATS = 7


def best_times(
    functions: Sequence[Callable[[], object]], seconds: float
) -> list[float]:
    """Shortest seconds of each, over interleaved rounds after one warm-up.

    Timings on shared machines are noisy, and always too long: what runs in turn and
    counts its best round is compared fairly.

    Args:
      functions: what is timed; what they return is waited for.
      seconds: no further round begins after so many; there are two at least.
    """
    return round_times(functions, seconds).min(0).tolist()


def round_times(
    functions: Sequence[Callable[[], object]], seconds: float
) -> np.ndarray:
    """Seconds of each function in each round, [rounds, functions]; as `best_times`."""
    for function in functions:
        jax.block_until_ready(function())
    rounds: list[list[float]] = []
    begin = time.perf_counter()
    while len(rounds) < REPEATS:
        if len(rounds) >= 2 and time.perf_counter() - begin > seconds:
            break
        rounds.append([_seconds(function) for function in functions])
    return np.array(rounds)


def count_for(work: Callable[[int], object], seconds: float) -> int:
    """How many, at least 4, `work(count)` does in so many seconds; it is run twice."""
    work(4)
    return max(4, int(4 * seconds / _seconds(lambda: work(4))))


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start
