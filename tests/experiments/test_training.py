"""The loop round chunks, on a group whose numbers are made up."""

import jax
import jax.numpy as jnp
import pytest

from experiments.groups import Group, Program
from experiments.progress import progress_bar
from experiments.training import train
from rpex_jax import results
from tests import diagnostic

ENV = diagnostic.target_reward()
CHUNKS = 4


class Killed(Exception):
    pass


def group(diverges=2, first=1):
    """Two runs that count; the loss of those from `first` on is NaN in one chunk."""

    def chunk(state, runs):
        count = state["count"] + 1
        loss = jnp.where((count == diverges) & (runs >= first), jnp.nan, 0.5)
        nothing_ended = jnp.full(len(runs), jnp.nan)
        return {"count": count}, {"critic/loss": loss, "episode/return": nothing_ended}

    program = Program(
        start=lambda runs: {"count": jnp.zeros_like(runs)},
        chunk=chunk,
        evaluate=lambda state, runs: {"returns": jnp.stack([runs, runs + 1.0], 1)},
        lower=jax.jit(chunk).lower,
    )
    return Group(
        name="online-0",
        phase="online",
        labels=[{"method": "pex", "seed": 0}, {"method": "pex", "seed": 1}],
        inputs=jnp.arange(2),
        program=lambda mesh: program,
        first_step=5,
        chunk_steps=10,
        num_chunks=CHUNKS,
    )


def run(out, group, check=lambda: None):
    out.mkdir(exist_ok=True)
    with progress_bar("test", 1, "step") as bar:
        train(group, out, ENV, 2, bar, check)
    return results.read_rows(out / "chunks.jsonl")


def test_a_run_that_fails_is_marked_and_the_others_go_on(tmp_path, capsys):
    """Its row has step and cause and is its last; told once."""
    rows = run(tmp_path, group())
    of_seed = [[row for row in rows if row["seed"] == seed] for seed in (0, 1)]
    assert [row["chunk"] for row in of_seed[0]] == list(range(1, CHUNKS + 1))
    assert [row["chunk"] for row in of_seed[1]] == [1, 2]
    assert not any("failed" in row for row in [*of_seed[0], of_seed[1][0]])
    assert of_seed[1][1]["failed"] == "critic/loss is not finite at step 25"
    assert of_seed[1][1]["critic/loss"] is None
    told = capsys.readouterr()
    assert (told.out + told.err).count("critic/loss is not finite at step 25") == 1


def test_a_group_ends_with_its_last_run(tmp_path):
    """No chunk is trained that has no row; on resume neither."""
    calls = []
    for _ in range(2):
        rows = run(tmp_path, group(first=0), lambda: calls.append(None))
        assert [(row["chunk"], "failed" in row) for row in rows] == [
            *[(1, False)] * 2,
            *[(2, True)] * 2,
        ]
    assert len(calls) == 2


def test_a_resumed_study_remembers_who_failed(tmp_path):
    """Stopped after the third chunk; the same rows in the end."""
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 3:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "again", group(), check)
    again, whole = run(tmp_path / "again", group()), run(tmp_path / "whole", group())
    assert len(calls) == 3
    for ours, theirs in zip(again, whole, strict=True):
        for row in (ours, theirs):
            del row["wall/chunk"], row["wall/evaluation"]
        assert ours == theirs


def test_evaluations_come_with_their_chunks(tmp_path):
    """Every second chunk, and the last one."""
    rows = run(tmp_path, group(diverges=-1)._replace(num_chunks=3))
    assert ["returns" in row for row in rows] == [False] * 2 + [True] * 4
    assert not any("failed" in row for row in rows)
