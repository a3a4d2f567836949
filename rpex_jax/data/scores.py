"""D4RL's normalised score: 0 is a random policy, 100 the expert that D4RL used.

Source: D4RL, `d4rl/infos.py`. One pair serves every data set of a task, and every
version of the task; newer experts reach more than 100.
"""

import difflib
import re

import numpy as np

# task: mean return of (a random policy, the expert)
REFERENCE_SCORES = {
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
    "antmaze": (0.0, 1.0),
}


def has_reference(env_name: str) -> bool:
    """Whether the environment, such as `Hopper-v4`, has reference scores."""
    return _task(env_name) in REFERENCE_SCORES


def reference_scores(env_name: str) -> tuple[float, float]:
    """The returns that score 0 and 100, of an environment such as `Hopper-v4`.

    Raises:
      ValueError: there are none for this environment.
    """
    if not has_reference(env_name):
        nearest = difflib.get_close_matches(_task(env_name), REFERENCE_SCORES, n=1)
        raise ValueError(
            f"{env_name} has no D4RL reference score"
            + (f" (did you mean {nearest[0]}?)" if nearest else "")
            + f"; there are scores for {', '.join(REFERENCE_SCORES)}."
        )
    return REFERENCE_SCORES[_task(env_name)]


def normalised_score(env_name: str, returns: np.ndarray) -> np.ndarray:
    """Returns in percent of the way from a random policy to D4RL's expert.

        100 (R - min) / (max - min)

    Args:
      env_name: a Gymnasium id (`Hopper-v4`) or the name of a D4RL data set.
      returns: undiscounted returns of episodes, any shape.

    Raises:
      ValueError: there are no reference scores for this environment.
    """
    low, high = reference_scores(env_name)
    return 100 * (np.asarray(returns, np.float64) - low) / (high - low)


def _task(env_name: str) -> str:
    """`AntMaze_UMaze-v4`, `antmaze-umaze-v2` and `antmaze` are one task."""
    return re.split("[-_]", env_name.rsplit("/", 1)[-1].lower())[0]
