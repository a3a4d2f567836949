"""Groups that do not fit on the devices at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import waves
from experiments.groups import Group, Program
from experiments.progress import progress_bar
from experiments.training import train
from rpex_jax import results
from tests import diagnostic

ENV = diagnostic.target_reward()
RUNS, WIDTH = 5, 1_000


def group(fits=RUNS):
    """Runs whose state is a row of their seed times the number of chunks.

    More runs than fit end as on a device that is full.
    """

    def chunk(state, seeds):
        if len(seeds) > fits:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return state + seeds[:, None], {"critic/loss": state.max(1)}

    return Group(
        name="online-0",
        phase="online",
        labels=[{"method": "pex", "seed": seed} for seed in range(RUNS)],
        inputs=jnp.arange(RUNS, dtype=jnp.float32),
        program=lambda mesh: Program(
            start=lambda seeds: jnp.zeros((len(seeds), WIDTH)),
            chunk=chunk,
            evaluate=lambda state, seeds: {"returns": state[:, :2]},
            lower=jax.jit(chunk, donate_argnums=0).lower,
        ),
        first_step=0,
        chunk_steps=10,
        num_chunks=3,
    )


def run(out, group):
    out.mkdir(exist_ok=True)
    with progress_bar("test", 150, "step") as bar:
        states = train(group, out, ENV, 2, bar, lambda: None)
        assert bar.n == 150
    assert states.tolist() == [[3.0 * seed] * WIDTH for seed in range(RUNS)]
    rows = results.read_rows(out / "chunks.jsonl")
    return [{k: v for k, v in r.items() if not k.startswith("wall/")} for r in rows]


@pytest.fixture
def whole(tmp_path):
    return run(tmp_path / "whole", group())


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_waves_of_any_size_leave_the_same_rows(tmp_path, monkeypatch, whole, size):
    """Every run once, in its place; the states of all in one checkpoint."""
    monkeypatch.setattr(waves, "runs_at_once", lambda group: size)
    assert run(tmp_path / "waves", group()) == whole


def test_a_full_device_halves_the_waves(tmp_path, capsys, whole):
    """5, 3 and then 2 at a time, from the last checkpoint; said to the user."""
    assert run(tmp_path / "waves", group(fits=2)) == whole
    told = capsys.readouterr()
    sizes = ["3 of 5 runs at a time", "2 of 5 runs at a time"]
    assert [size for size in sizes if size in told.out + told.err] == sizes


def test_states_that_cannot_be_had_leave_no_rows(tmp_path, monkeypatch, whole):
    """The devices may be full after a chunk too, which is then trained once more."""
    get, calls = waves.Waves.get, []

    def full_at_first(self):
        calls.append(None)
        if len(calls) == 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return get(self)

    monkeypatch.setattr(waves.Waves, "get", full_at_first)
    assert run(tmp_path / "waves", group()) == whole


def test_one_run_that_does_not_fit_is_an_error(tmp_path):
    """Nothing is left to halve."""
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        run(tmp_path / "waves", group(fits=0))


def test_waves_go_on_from_a_checkpoint_of_another_size(tmp_path, monkeypatch, whole):
    """Two at a time after one chunk of all."""
    out, short = tmp_path / "waves", group()._replace(num_chunks=1)
    out.mkdir()
    with progress_bar("test", 50, "step") as bar:
        train(short, out, ENV, 2, bar, lambda: None)
    rows = out / "chunks.jsonl"
    first = results.read_rows(rows)
    for row in first:
        del row["returns"]  # its last chunk is evaluated, the first of three is not
    rows.unlink()
    results.append_rows(rows, first)
    monkeypatch.setattr(waves, "runs_at_once", lambda group: 2)
    assert run(out, group()) == whole


def test_the_largest_wave_follows_from_bytes():
    """By what XLA says a run takes: its 4 kB once, or twice where they are copied."""
    state, step = 4 * WIDTH, 1_000
    sizes = [waves.largest(group(), limit) for limit in range(0, 12 * state, step)]
    assert sizes == sorted(sizes) and set(sizes) == set(range(1, RUNS + 1))
    from_limit = [step * sizes.index(size) for size in range(2, RUNS + 1)]
    assert all(state <= more <= 2 * state + step for more in np.diff(from_limit))


def test_a_cpu_takes_all_runs_at_once():
    """Its memory is the host's, where the others would have to wait too."""
    assert waves.bytes_of_device() is None
    assert waves.runs_at_once(group()) == RUNS
