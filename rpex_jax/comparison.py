"""Methods compared by few runs: interquartile mean, intervals, and who beats whom.

Source: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical
precipice", arXiv 2108.13264, and its library rliable.

A task is what runs are repeated on (an environment, a corruption); its scores are an
array [..., runs]. The scores of a method are its tasks: a mapping of task to scores, or
one array [runs, tasks]. Tasks may differ in their number of runs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Scores = Mapping[str, Sequence[float]] | np.ndarray
Tasks = dict[str, np.ndarray]  # task: [..., runs]


class Interval(NamedTuple):
    """Of a number, in its unit."""

    low: float
    high: float


def interquartile_mean(scores: Scores) -> np.ndarray:
    """Mean of the middle half of all runs of all tasks, pooled; [...].

    A quarter of the n runs, rounded down, is cut off at each end: none if n < 4. The
    result is NaN where a score is.
    """
    pooled = np.sort(np.concatenate(list(as_tasks(scores).values()), axis=-1))
    count = pooled.shape[-1]
    cut = count // 4
    mean = pooled[..., cut : count - cut].mean(-1)
    return np.where(np.isnan(pooled[..., -1]), np.nan, mean)  # NaN is sorted last


def probability_of_improvement(x: Scores, y: Scores) -> np.ndarray:
    """How likely a run of X beats one of Y on the same task, mean over tasks; [...].

    Of a task it is the Mann-Whitney statistic, P(X > Y) + P(X = Y) / 2 over all pairs
    of runs: in [0, 1], and 0.5 for equals.

    Raises:
      ValueError: X and Y were not run on the same tasks.
    """
    x, y = as_tasks(x), as_tasks(y)
    if x.keys() != y.keys():
        raise ValueError(
            f"probability of improvement: the tasks are {', '.join(x)} of one method "
            f"and {', '.join(y)} of the other; they must be the same."
        )
    of_tasks = [
        np.sign(x[task][..., :, None] - y[task][..., None, :]).mean((-2, -1))
        for task in x
    ]
    return (1 + np.mean(of_tasks, axis=0)) / 2


def stratified_bootstrap(
    statistic: Callable[..., np.ndarray],
    *samples: Scores,
    seed: int = 0,
    resamples: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """A percentile interval of a statistic: its spread if other runs had been drawn.

    A resample draws, from the runs of each task and with replacement, as many as there
    are; methods are drawn independently. The tasks stay.

    Args:
      statistic: of one `Scores` a method, with a leading axis of resamples; for
        example `interquartile_mean` or `probability_of_improvement`.
      samples: the scores of each method.
      seed: equal seeds give equal intervals.
      resamples: at least 2,000; rliable takes 50,000 in tables.
      level: share of the resamples that lie inside, in (0, 1).

    Raises:
      ValueError: another level, no resample, or as `as_tasks`.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie in (0, 1)")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; it must be at least 1")
    rng = np.random.default_rng(seed)

    def resample(runs: np.ndarray) -> np.ndarray:
        return runs[rng.integers(len(runs), size=(resamples, len(runs)))]

    drawn = [
        {task: resample(runs) for task, runs in as_tasks(scores).items()}
        for scores in samples
    ]
    outside = 50 * (1 - level)
    low, high = np.percentile(statistic(*drawn), [outside, 100 - outside])
    return Interval(float(low), float(high))


def as_tasks(scores: Scores) -> Tasks:
    """Scores in float64 by task; columns of an array are tasks of their numbers.

    Raises:
      ValueError: there is no run, or a task without any.
    """
    if not isinstance(scores, Mapping):
        scores = {str(i): runs for i, runs in enumerate(np.transpose(scores))}
    tasks = {task: np.asarray(runs, np.float64) for task, runs in scores.items()}
    if empty := [task for task, runs in tasks.items() if not runs.size]:
        raise ValueError(f"scores of task {empty[0]!r} are of no run; give at least 1.")
    if not tasks:
        raise ValueError("scores are of no task; give at least 1.")
    return tasks
