"""The loop round a group's chunks: it times, evaluates, logs and saves."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments import policy_sets
from experiments.groups import Group
from experiments.study_results import as_scores
from rpex_jax import checkpoints, results
from rpex_jax.envs import Env


def train(
    group: Group,
    out: Path,
    env: Env,
    evaluate_every: int,
    bar: tqdm,
    check: Callable[[], None],
    log: Callable[[list[dict]], None] = lambda rows: None,
) -> Any:
    """Trains a group to its end, from its last checkpoint if it has one.

    Rows are written before the checkpoint that covers them, and rows beyond the
    checkpoint are dropped on the way in: a kill at any moment costs the chunk in
    flight, and no row is lost or doubled. A run with a number that is not finite has
    failed: its rows say so from then on, and the other runs know nothing of it.

    Args:
      group: what is trained.
      out: the folder of its study.
      env: where it is evaluated.
      evaluate_every: chunks.
      bar: moved on by the steps of all runs.
      check: called after every chunk that is saved; may raise to stop there.
      log: gets the group's rows that are kept, then each chunk's once they are on disk.
    """
    folder, rows_file = out / "checkpoints" / group.name, out / "chunks.jsonl"
    done = checkpoints.latest(folder) or 0
    results.keep_rows(
        rows_file, lambda row: row["group"] != group.name or row["chunk"] <= done
    )
    kept = [r for r in results.read_rows(rows_file) if r["group"] == group.name]
    failed = failures(group, kept)
    log(kept)
    if done:
        state = checkpoints.restore(folder, done, jax.eval_shape(group.start))
    else:
        state = jax.block_until_ready(group.start())
    bar.update((group.first_step + done * group.chunk_steps) * len(group.labels))
    for chunk in range(done + 1, group.num_chunks + 1):
        started = time.perf_counter()
        state, metrics = jax.block_until_ready(group.chunk(state))
        trained = time.perf_counter()
        returns = {}
        if chunk % evaluate_every == 0 or chunk == group.num_chunks:
            returns = jax.tree.map(
                lambda x: np.asarray(x, np.float64), group.evaluate(state)
            )
            score = as_scores(env.name, returns["returns"]).mean()
            bar.set_postfix(score=f"{score:.1f}")
        wall = {
            "wall/chunk": trained - started,  # the first one compiles
            "wall/evaluation": time.perf_counter() - trained,
        }
        step = group.first_step + chunk * group.chunk_steps
        place = {"group": group.name, "phase": group.phase}
        place |= {"chunk": chunk, "step": step}
        rows = tidy_rows(group.labels, place, metrics, returns, wall)
        for run, row in enumerate(rows):
            if run not in failed and (name := not_finite(row)):
                failed[run] = f"{name} is not finite at step {step}"
                bar.write(f"{group.labels[run]}: {failed[run]}; the others go on")
            if run in failed:
                row["failed"] = failed[run]
        results.append_rows(rows_file, rows)
        log(rows)
        if chunk in group.snapshots:
            policy_sets.save_snapshot(out, group.name, chunk, state.agent.actor)
        checkpoints.save(folder, chunk, state)
        bar.update(group.chunk_steps * len(group.labels))
        check()
    return state


def failures(group: Group, rows: list[dict]) -> dict[int, str]:
    """Which runs of a group have failed so far, by their place, and by what."""
    return {
        run: row["failed"]
        for row in rows
        if row["group"] == group.name and "failed" in row
        for run, labels in enumerate(group.labels)
        if labels.items() <= row.items()
    }


def not_finite(row: dict) -> str:
    """The first number of a row that is NaN or infinite, or nothing."""
    for name, value in row.items():
        # where no episode ended in a chunk there is no mean of their returns
        is_number = isinstance(value, float | list) and name != "episode/return"
        if is_number and not np.isfinite(value).all():
            return name
    return ""


def tidy_rows(
    labels: list[dict],
    place: dict,
    metrics: dict[str, jax.Array],
    returns: dict[str, np.ndarray],
    wall: dict,
) -> list[dict]:
    """A row a run: labels, place, metrics [runs], returns [runs, episodes], seconds."""
    values = metrics | returns
    values = {name: np.asarray(of_runs).tolist() for name, of_runs in values.items()}
    return [
        label | place | {name: of_runs[i] for name, of_runs in values.items()} | wall
        for i, label in enumerate(labels)
    ]
