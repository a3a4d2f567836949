"""Writes rliable_values.json: what rliable makes of the scores of two methods.

    python tests/parity/make_rliable_values.py

Run by hand, in an environment with rliable==1.2.0 and pandas<3; it imports nothing of
`rpex_jax`. Scores are whole numbers, so that some are equal between the methods.
"""

import json
from pathlib import Path

import numpy as np
from rliable import library, metrics

REPS = 50_000


def main() -> None:
    rng = np.random.default_rng(0)
    level = np.array([20.0, 45.0, 80.0, 100.0])  # of four tasks
    x = np.round(rng.normal(level + 3, 6, size=(5, 4)))
    y = np.round(rng.normal(level, 9, size=(7, 4)))
    np.random.seed(0)  # noqa: NPY002 (where rliable draws from)
    iqm, iqm_interval = library.get_interval_estimates(
        {"x": x, "y": y}, lambda s: np.array([metrics.aggregate_iqm(s)]), reps=REPS
    )
    better, better_interval = library.get_interval_estimates(
        {"x,y": (x, y)},
        lambda a, b: np.array([metrics.probability_of_improvement(a, b)]),
        reps=REPS,
    )
    values = {
        "x": x.tolist(),
        "y": y.tolist(),
        "reps": REPS,
        "iqm": {k: v.item() for k, v in iqm.items()},
        "iqm_interval": {k: v.ravel().tolist() for k, v in iqm_interval.items()},
        "improvement": better["x,y"].item(),
        "improvement_interval": better_interval["x,y"].ravel().tolist(),
    }
    path = Path(__file__).with_name("rliable_values.json")
    path.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
