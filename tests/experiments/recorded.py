"""Folders of studies as `experiments.sweep` leaves them, with returns of our choice."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from experiments import study
from rpex_jax import results
from rpex_jax.data.scores import reference_scores


def record(
    folder: Path,
    config: ConfigDict,
    score: Callable[[dict, str, float], float],
    *,
    spread: float = 1.0,
    done: float = 1.0,
) -> Path:
    """Writes `config.json` and `chunks.jsonl`.

    Args:
      folder: gets the study.
      config: of the study.
      score: mean D4RL score, of (labels, condition, share of the budget); the labels
        of a pretrained policy have no method.
      spread: seeds are this far apart, and episodes of a run as far.
      done: share of its chunks that each run has come to.
    """
    low, high = reference_scores(config.env)
    episodes = config.evaluation.episodes

    def returns(labels: dict, share: float) -> dict[str, list[float]]:
        of_episodes = np.linspace(-spread, spread, episodes) + spread * labels["seed"]
        return {
            "returns" if c == "normal" else f"returns/{c}": (
                low + (score(labels, c, share) + of_episodes) / 100 * (high - low)
            ).tolist()
            for c in config.evaluation.conditions
        }

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    rows = []
    for seed in config.sweep.seed:
        labels = {"base": config.sweep.base[0], "corruption": "clean", "seed": seed}
        place = {"pretraining": seed, "chunk": 0, "step": 0}
        of_policy = returns(labels, 0.0)
        offline = {"phase": "offline", "returns": of_policy["returns"]}
        rows.append(labels | place | offline)
        rows.append(labels | place | {"phase": "pretrained"} | of_policy)
    for run in study.expand_grid(config):
        online, kind = run.config.online, run.config.curriculum.kind
        count = (online.steps - online.warmup) // online.chunk
        for chunk in range(1, round(done * count) + 1):
            row = run.labels | {"pretraining": run.labels["seed"], "phase": "online"}
            row |= {"chunk": chunk, "step": online.warmup + chunk * online.chunk}
            if run.config.perturbation.kind != "none":
                row["curriculum/q"] = 0.5 if kind == "fixed" else chunk / count
            if chunk % config.evaluation.every == 0 or chunk == count:
                row |= returns(run.labels, chunk / count)
            rows.append(row)
    results.append_rows(folder / "chunks.jsonl", rows)
    return folder
