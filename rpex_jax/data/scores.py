"""D4RL's normalised score: 0 is a random policy, 100 the expert that D4RL used.

Source: D4RL, `d4rl/infos.py`, for mazes of `maze2d` `d4rl/pointmaze/__init__.py`. One
pair serves every data set of a task, and every version of the task, but for the mazes
of `maze2d`, which have one each; newer experts reach more than 100.
"""

import difflib

import numpy as np

# task: mean return of (a random policy, the expert)
REFERENCE_SCORES = {
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
    "antmaze": (0.0, 1.0),
    "maze2d-umaze-v1": (23.85, 161.86),
    "maze2d-medium-v1": (13.13, 277.39),
    "maze2d-large-v1": (6.7, 273.99),
    "maze2d-umaze-dense-v1": (68.537689, 193.662856),
    "maze2d-medium-dense-v1": (44.264742, 297.455255),
    "maze2d-large-dense-v1": (30.569041, 303.485738),
    "maze2d-open-v0": (0.01, 20.66),
    "maze2d-open-dense-v0": (11.17817, 27.166539),
    "maze2d-eval-umaze-v1": (36.63, 141.4),
    "maze2d-eval-medium-v1": (13.07, 204.93),
    "maze2d-eval-large-v1": (16.4, 302.22),
    "maze2d-eval-umaze-dense-v1": (56.95455, 178.21373133248397),
    "maze2d-eval-medium-dense-v1": (42.28578, 235.5658957482388),
    "maze2d-eval-large-dense-v1": (56.95455, 326.09647655082637),
    "maze2d-umaze-dense-v0": (23.249793, 81.78995240126592),
    "maze2d-medium-dense-v0": (19.47762, 96.03474232952358),
    "maze2d-large-dense-v0": (27.38831, 215.09965671563742),
    "maze2d-umaze-v0": (0.94, 62.6),
    "maze2d-medium-v0": (5.77, 85.14),
    "maze2d-large-v0": (4.83, 191.99),
    "pen": (96.262799, 3076.833102),
    "hammer": (-274.856578, 12794.134825),
    "door": (-56.512833, 2880.569309),
    "relocate": (-6.425911, 4233.877798),
    "kitchen": (0.0, 4.0),
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
    name = env_name.rsplit("/", 1)[-1].lower().replace("_", "-")
    return name if name.startswith("maze2d-") else name.split("-")[0]
