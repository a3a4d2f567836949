"""From a study's config to how its runs are perturbed, and how often."""

import numpy as np
from ml_collections import ConfigDict

from rpex_jax.attacks.curriculum import CONDITIONS, Curriculum, linear_increment
from rpex_jax.attacks.perturbation import Perturbation, PGDSettings
from rpex_jax.data import scores


def perturbation(config: ConfigDict) -> Perturbation | None:
    """How a run is perturbed; zeros stand for its attack set until there is one."""
    kind = config.perturbation.kind
    if kind == "none":
        return None
    return Perturbation(
        members=np.zeros((config.attack.searches, 1)),
        bound=config.perturbation.bound,
        uniform=float(kind == "random"),
        curriculum=curriculum(config),
        pgd=pgd_settings(config) if kind == "pgd" else None,
    )


def pgd_settings(config: ConfigDict) -> PGDSettings:
    """Of PGD, in training and in evaluation."""
    return PGDSettings(**config.pgd)


def curriculum(config: ConfigDict) -> Curriculum:
    """The curriculum of a run."""
    of_run = config.curriculum
    low, high = of_run.score_range or scores.reference_scores(config.env)
    numbers = {
        "fixed": {"initial": of_run.q},
        "linear": {"increment": linear_increment(of_run.q_max, num_periods(config))},
        "adaptive": {
            "step_size": of_run.step_size,
            "smoothing": of_run.smoothing,
            "cap": of_run.cap,
        },
    }[of_run.kind]
    condition = CONDITIONS[of_run.condition]
    return Curriculum(low=low, high=high, condition=condition, **numbers)


def num_periods(config: ConfigDict) -> int:
    """Chunks of a run online, each a period of its curriculum."""
    return (config.online.steps - config.online.warmup) // config.online.chunk


def is_calibrated(config: ConfigDict) -> bool:
    """Whether a linear curriculum waits for the adaptive runs of the study."""
    of_run = config.curriculum
    perturbed = config.perturbation.kind != "none"
    return perturbed and of_run.kind == "linear" and of_run.q_max == 0
