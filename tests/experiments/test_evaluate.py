"""Evaluation of checkpoints: the evaluator's numbers, in tables that add up."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import evaluate, policies, study
from experiments import sweep as program
from experiments.evaluate import Row
from experiments.settings import ConfigError
from rpex_jax import results
from rpex_jax.envs import TASKS, rendering, tasks
from tests import diagnostic
from tests.experiments.tiny import tiny_config, write_data


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study on a diagnostic environment: its folder and its rows.

    Two online runs share a pretraining, and the damaged observations give each
    pretraining statistics of its own.
    """
    folder = tmp_path_factory.mktemp("evaluate")
    write_data(folder / "data.npz", observation_dim=1, action_dim=1)
    config = tiny_config(folder / "data.npz", chunks=2).unlock()
    config.sweep.seed = (0, 1)
    config.sweep.method = ("direct",)
    config.sweep.corruption = ("observation",)
    config.sweep.axes = ("online.rate=0.1,0.2",)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "make_env", lambda config: diagnostic.target_reward())
        program.run_study(config.lock(), folder / "out", resume=False)
        yield folder / "out", results.read_rows(folder / "out" / "chunks.jsonl")


def last_returns(rows, group: str) -> list[list[float]]:
    return [
        row["returns"] for row in rows if row["group"] == group and row["chunk"] == 2
    ]


@pytest.mark.parametrize("group", ["offline-0", "online-0"])
def test_the_numbers_of_a_sweep_come_back(finished, group):
    """From the last checkpoint, with its number of episodes: its last rows."""
    out, rows = finished
    checkpoint = out / "checkpoints" / group
    expected = last_returns(rows, group)
    for place in (checkpoint, checkpoint / "2"):
        env, groups = policies.load(place)
        assert len(groups) == 1
        got = evaluate.evaluate(env, groups, episodes=2)
        np.testing.assert_allclose([row.returns for row in got], expected, rtol=1e-6)
    labels = [row.labels for row in got]
    told = [row for row in rows if row["group"] == group and row["chunk"] == 2]
    for ours, theirs in zip(labels, told, strict=True):
        assert ours.items() <= theirs.items()


def test_a_folder_stands_for_all_its_groups(finished):
    out, _ = finished
    _, groups = policies.load(out)
    assert [len(group.labels) for group in groups] == [2, 4]


@pytest.mark.parametrize(
    "place",
    [
        "no/such",
        "../no",
        "checkpoints/online-7",
        "checkpoints/online-0/9",
    ],
)
def test_a_checkpoint_that_is_not_there(finished, place):
    """What was given, and what can be."""
    match = rf"--checkpoint is .*{place}, where none is complete.*checkpoints/GROUP"
    with pytest.raises(ConfigError, match=match):
        policies.load(finished[0] / place)


def test_the_tables():
    """Standard errors over episodes, then over seeds; D4RL scores of means."""
    rows = [
        Row({"base": "iql", "seed": seed}, "normal", 10, returns)
        for seed, returns in enumerate([[0.0, 2.0], [4.0, 4.0]])
    ]
    assert (
        evaluate.report("Hopper-v4", rows)
        == """\
| base | seed | step | condition | return | score |
| --- | --- | --- | --- | --- | --- |
| iql | 0 | 10 | normal | 1.0 ± 1.0 | 0.7 |
| iql | 1 | 10 | normal | 4.0 ± 0.0 | 0.7 |

| base | step | condition | seeds | return | score |
| --- | --- | --- | --- | --- | --- |
| iql | 10 | normal | 2 | 2.5 ± 1.5 | 0.7 |"""
    )
    assert (
        evaluate.report("Pendulum-v1", rows[:1])
        == """\
| base | seed | step | condition | return |
| --- | --- | --- | --- | --- |
| iql | 0 | 10 | normal | 1.0 ± 1.0 |"""
    )


def test_which_run_is_filmed(finished):
    """Counted over the groups, as in the table."""
    _, groups = policies.load(finished[0])
    assert evaluate.nth_run(groups, 1) == (groups[0], 1)
    assert evaluate.nth_run(groups, 5) == (groups[1], 3)
    with pytest.raises(ConfigError, match="--run is 6; there are 6"):
        evaluate.nth_run(groups, 6)


def test_films_that_cannot_be(finished, tmp_path, monkeypatch):
    """Before anything is evaluated: what is wrong, and what to install."""
    env, groups = policies.load(finished[0])
    with pytest.raises(ConfigError, match="target_reward"):
        evaluate.check_video(env, groups, tmp_path / "a.mp4", 0)
    env = env._replace(name="Hopper-v4")
    for path in ("a.gif", "no/such/a.mp4"):
        with pytest.raises(ConfigError, match=r"must end in \.mp4"):
            evaluate.check_video(env, groups, Path(path), 0)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "BACKENDS", ("nonsense",))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", object())
    with pytest.raises(rendering.RenderingError, match="libegl1 and libgl1-mesa-dri"):
        evaluate.check_video(env, groups, tmp_path / "a.mp4", 0)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(rendering.RenderingError, match="imageio-ffmpeg"):
        evaluate.check_video(env, groups, tmp_path / "a.mp4", 0)


def test_a_video_shows_the_movement(tmp_path):
    """A cheetah that is lifted: the lower rows of the picture change, in real time."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    try:
        rendering.find_backend()
    except rendering.RenderingError as error:
        pytest.skip(str(error))
    task = TASKS["HalfCheetah-v4"]
    model = tasks.load_model(task)
    positions = np.tile(model.qpos0, (10, 1))
    positions[5:, 1] += 0.3
    rendering.write_video(tmp_path / "a.mp4", model, positions, seconds_per_step=0.05)
    read = [ffmpeg.get_ffmpeg_exe(), "-i", str(tmp_path / "a.mp4"), "-f", "rawvideo"]
    read = subprocess.run([*read, "-pix_fmt", "rgb24", "-"], capture_output=True)
    assert b"640x480" in read.stderr and b"20 fps" in read.stderr
    images = np.frombuffer(read.stdout, np.uint8).reshape(-1, 480, 640, 3)
    assert len(images) == 10
    images = images.astype(np.float32)
    assert images.std(axis=(1, 2, 3)).min() > 10  # not black
    moved = np.abs(np.diff(images, axis=0)).mean(axis=(1, 2, 3))
    assert np.argmax(moved) == 4 and moved[4] > 20 * np.delete(moved, 4).max()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
