"""The loop round a group's chunks: it times, evaluates, logs and saves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments import policy_sets, waves
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
    """Trains a group to its end, in waves as large as the memory of the devices takes.

    Should a wave not fit all the same, the group goes on from its last checkpoint in
    waves of half the size. Otherwise as `train_in_waves`; `log` gets the group's rows
    that are kept, then each chunk's once they are on disk.
    """
    log(kept_rows(group, out))
    size, first = waves.runs_at_once(group), bar.n
    while True:
        if size < len(group.labels):
            bar.write(f"{group.name}: {size} of {len(group.labels)} runs at a time")
        try:
            return train_in_waves(
                group, size, out, env, evaluate_every, bar, check, log
            )
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or size == 1:
                raise
            bar.write(f"{group.name}: the devices are out of memory")
            bar.update(first - bar.n)
            size = -(-size // 2)


def train_in_waves(
    group: Group,
    size: int,
    out: Path,
    env: Env,
    evaluate_every: int,
    bar: tqdm,
    check: Callable[[], None],
    log: Callable[[list[dict]], None],
) -> Any:
    """Trains a group to its end, from its last checkpoint if it has one.

    Rows are written before the checkpoint that covers them, and `kept_rows` drops what
    is beyond it: a kill at any moment costs the chunk in
    flight, and no row is lost or doubled. A run with a number that is not finite has
    failed: its row says so and is its last, and the other runs know nothing of it.

    Args:
      group: what is trained.
      size: runs on the devices at a time.
      out: the folder of its study.
      env: where it is evaluated.
      evaluate_every: chunks.
      bar: moved on by the steps of all runs.
      check: called after every chunk that is saved; may raise to stop there.
      log: gets the rows of each chunk once they are on disk.

    Returns:
      The states of all runs at the end, on the host.
    """
    folder, rows_file = out / "checkpoints" / group.name, out / "chunks.jsonl"
    count = len(group.labels)
    done = checkpoints.latest(folder) or 0
    failed = failures(group, results.read_rows(rows_file))
    of_waves = waves.Waves(group, size)
    if done:
        of_waves.put(checkpoints.restore(folder, done, of_waves.shapes()))
    else:
        of_waves.start()
    bar.update((group.first_step + done * group.chunk_steps) * count)
    for chunk in range(done + 1, group.num_chunks + 1):
        if len(failed) == count:
            bar.write(f"{group.name}: all runs have failed")
            break
        evaluates = chunk % evaluate_every == 0 or chunk == group.num_chunks
        metrics, returns, wall = of_waves.chunk(evaluates)
        states = of_waves.get()  # if it does not fit there are no rows yet
        if evaluates:
            going_on = [run for run in range(count) if run not in failed]
            score = as_scores(env.name, returns["returns"][going_on]).mean()
            bar.set_postfix(score=f"{score:.1f}")
        step = group.first_step + chunk * group.chunk_steps
        place = {"group": group.name, "phase": group.phase}
        place |= {"chunk": chunk, "step": step}
        rows = tidy_rows(group.labels, place, metrics, returns, wall)
        rows = {run: row for run, row in enumerate(rows) if run not in failed}
        for run, row in rows.items():
            if name := not_finite(row):
                row["failed"] = failed[run] = f"{name} is not finite at step {step}"
                bar.write(f"{group.labels[run]}: {failed[run]}; the others go on")
        results.append_rows(rows_file, rows.values())
        log(list(rows.values()))
        if chunk in group.snapshots:
            offline = group.phase == "offline"  # those are members of larger sets
            kept = states.agent.actor if offline else states.agent
            policy_sets.save_snapshot(out, group.name, chunk, kept)
        checkpoints.save(folder, chunk, states)
        bar.update(group.chunk_steps * count)
        check()
    return of_waves.get()


def kept_rows(group: Group, out: Path) -> list[dict]:
    """The rows of a group that its last checkpoint covers; drops the others."""
    done = checkpoints.latest(out / "checkpoints" / group.name) or 0
    file = out / "chunks.jsonl"
    results.keep_rows(
        file, lambda row: row["group"] != group.name or row["chunk"] <= done
    )
    return [row for row in results.read_rows(file) if row["group"] == group.name]


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
