"""How often training meets a perturbation: the probability q, from period to period.

    R~_k = alpha R_k + (1 - alpha) R~_{k-1}
    q_k = clip(q_{k-1} + increment + clip(eta (R~_k - R~_{k-1}), +- cap), 0, 1)

R_k is the score in the k-th evaluation, 0 for a random policy and 1 for an expert. A
fixed q has neither term, a linear curriculum the first, an adaptive one the second; so
all of them, with any numbers, are runs of one program.

Source: arXiv 2510.13358, equations 9 to 11 and 20. What it lost is our choice: the
numbers, the evaluation's condition, and where the cap acts.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import struct

from rpex_jax.types import Array

CURRICULA = ("fixed", "linear", "adaptive")
# How often an evaluation of the curriculum is perturbed; "mix" is with probability q.
CONDITIONS = {"mix": -1.0, "normal": 0.0, "adversarial": 1.0}


@struct.dataclass
class Curriculum:
    """Numbers, which all take a run axis."""

    initial: Any = 0.0  # q_0, in [0, 1]
    increment: Any = 0.0  # of q in a period
    step_size: Any = 0.0  # eta
    smoothing: Any = 0.1  # alpha, weight of the newest score, in [0, 1]
    cap: Any = float("inf")  # of a period's adaptive change
    low: Any = 0.0  # mean return of a random policy: R = 0
    high: Any = 1.0  # mean return of an expert: R = 1
    condition: Any = CONDITIONS["mix"]  # one of `CONDITIONS`


class CurriculumState(NamedTuple):
    """Where a run is in its curriculum."""

    q: Array  # [], probability that an episode is perturbed
    smoothed: Array  # [], R~
    score: Array  # [], R, of the last evaluation


def linear_increment(q_max: float, periods: int) -> float:
    """The increment with which q goes from 0 to `q_max` in so many periods.

    Raises:
      ValueError: there is no period.
    """
    if periods < 1:
        raise ValueError(f"periods is {periods}; it must be at least 1")
    return q_max / periods


def equal_exposure(mean_q: float, periods: int) -> float:
    """The `q_max` of a linear curriculum that trains at this mean, at most 1.

    From 0, and with each period at the q from before its update, it trains at a mean
    of q_max (periods - 1) / (2 periods). Where that is less than `mean_q` even with 1,
    exposures do not match, and a report must say so.

    Source: arXiv 2510.13358, section 5.3 and appendix B.
    """
    return min(1.0, 2.0 * mean_q * periods / max(1, periods - 1))


def start(curriculum: Curriculum) -> CurriculumState:
    """Before the first evaluation."""
    zero = jnp.zeros(())
    return CurriculumState(jnp.asarray(curriculum.initial, jnp.float32), zero, zero)


def score_of(mean_return: Array, curriculum: Curriculum) -> Array:
    """R: 0 at a random policy's return, 1 at an expert's."""
    return (mean_return - curriculum.low) / (curriculum.high - curriculum.low)


def evaluation_probability(q: Array, curriculum: Curriculum) -> Array:
    """How often an evaluation of the curriculum is perturbed."""
    return jnp.where(curriculum.condition < 0, q, curriculum.condition)


def first_score(state: CurriculumState, score: Array) -> CurriculumState:
    """R~_0 = R_0, the score of the policy that training starts from."""
    return state._replace(smoothed=score, score=score)


def advance(
    state: CurriculumState, score: Array, curriculum: Curriculum
) -> CurriculumState:
    """The end of a period whose evaluation gave `score`."""
    smoothed = (
        curriculum.smoothing * score + (1.0 - curriculum.smoothing) * state.smoothed
    )
    q = _unbounded(state, smoothed, curriculum)
    return CurriculumState(jnp.clip(q, 0.0, 1.0), smoothed, score)


def hit_bound(
    state: CurriculumState, after: CurriculumState, curriculum: Curriculum
) -> Array:
    """Whether q met 0 or 1 from one state to the next, and was held there."""
    q = _unbounded(state, after.smoothed, curriculum)
    return (q < 0.0) | (q > 1.0)


def _unbounded(
    state: CurriculumState, smoothed: Array, curriculum: Curriculum
) -> Array:
    gain = curriculum.step_size * (smoothed - state.smoothed)
    gain = jnp.clip(gain, -curriculum.cap, curriculum.cap)
    return state.q + curriculum.increment + gain
