"""Evaluation of checkpoints: the evaluator's numbers, in tables that add up."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import evaluate, films, policies
from experiments import sweep as program
from experiments.inspection import Row
from experiments.settings import ConfigError
from rpex_jax import results, sweep
from rpex_jax.data import attack_sets
from rpex_jax.data.attack_sets import AttackSet, AttackSetError
from rpex_jax.data.statistics import standardise
from rpex_jax.envs import TASKS, rendering, tasks
from rpex_jax.training.conditions import CONDITIONS
from tests.experiments.tiny import small_world, tiny_config, write_data

# Of two programs: a return is minus a squared distance, in which digits cancel.
ROUNDED = dict(rtol=1e-5, atol=1e-6)


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
    config.evaluation.conditions = CONDITIONS
    config.attack.searches, config.attack.population_size = 2, 4
    config.attack.generations = 1
    with small_world():
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
        np.testing.assert_allclose([row.returns for row in got], expected, **ROUNDED)
    labels = [row.labels for row in got]
    told = [row for row in rows if row["group"] == group and row["chunk"] == 2]
    for ours, theirs in zip(labels, told, strict=True):
        assert ours.items() <= theirs.items()


def test_a_policy_acts_in_code_of_ones_own(finished):
    """As docs/extending.md says."""
    out, _ = finished
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    [snippet] = re.findall(r'```python title="act.py"\n(.*?)```', page, re.DOTALL)
    namespace: dict = {}
    exec(snippet.replace("runs/quickstart", str(out)), namespace)
    group, key = namespace["group"], jax.random.key(0)
    observations = np.linspace(-1, 1, 5)[:, None]
    ours = [namespace["policy"](key, x) for x in observations]
    seen = standardise(observations, sweep.take(group.statistics, 0))
    states, config = (sweep.take(x, 0) for x in (group.states, group.runs.agent))
    expected = group.agent.act(key, states, seen, config, greedy=True)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    assert len({float(action[0]) for action in ours}) == 5


def test_attacks_of_a_study_come_back(finished):
    """Random, the study's own sets and PGD on the policy that a run started from."""
    out, rows = finished
    env, groups = policies.load(out)
    attacked = [
        evaluate.attacks_on(env, group, CONDITIONS, None, None) for group in groups
    ]
    got = evaluate.evaluate(env, groups, 2, CONDITIONS, attacked)
    told = [row for row in rows if row["phase"] == "pretrained"]
    told += [row for row in rows if row["phase"] == "online" and row["chunk"] == 2]
    expected = [row[f"returns/{name}"] for row in told for name in CONDITIONS[1:]]
    ours = {
        (tuple(row.labels.items()), row.condition): row.returns
        for row in got
        if row.condition != "normal"
    }
    labels = [label for group in groups for label in group.labels]
    ours = [ours[tuple(x.items()), name] for x in labels for name in CONDITIONS[1:]]
    np.testing.assert_allclose(ours, expected, **ROUNDED)
    assert {row.bound for row in got if row.condition != "normal"} == {0.3}


def test_a_set_of_the_user_is_met_in_turn(finished, tmp_path):
    """The set decides the bound; each of its members is met in every other episode."""
    out, _ = finished
    vectors = np.array([[0.5], [0.0]])
    found = AttackSet("target_reward", 0.5, vectors, np.zeros(2), {}, "a policy")
    attack_sets.save(tmp_path / "set.json", found)
    env, groups = policies.load(out / "checkpoints" / "offline-0")
    given = evaluate.read_attack_set(env, str(tmp_path / "set.json"), None)
    attacked = evaluate.attacks_on(env, groups[0], ["adversarial"], None, given)
    np.testing.assert_array_equal(attacked.bound, [0.5, 0.5])
    names = ["normal", "adversarial"]
    normal, hit = np.split(
        np.array(
            [r.returns for r in evaluate.evaluate(env, groups, 4, names, [attacked])]
        ),
        2,
    )
    np.testing.assert_allclose(hit[:, 1::2], normal[:, 1::2], **ROUNDED)
    assert abs(hit[:, ::2] - normal[:, ::2]).max() > 1e-3


def test_a_set_that_the_study_has_not_made(finished):
    """At another bound than the study's; and a collection makes none at all."""
    env, (group,) = policies.load(finished[0] / "checkpoints" / "offline-0")
    with pytest.raises(AttackSetError, match=r"policy-0-bound-0.7-evaluation"):
        evaluate.attacks_on(env, group, ["adversarial"], 0.7, None)
    collected = group._replace(pretrained=group.pretrained._replace(targets=[]))
    with pytest.raises(ConfigError, match="--attack_set must name one"):
        evaluate.attacks_on(env, collected, ["adversarial"], None, None)
    attacked = evaluate.attacks_on(env, collected, ["pgd"], None, None)
    np.testing.assert_array_equal(attacked.bound, [0.3, 0.3])


def test_a_folder_stands_for_all_its_groups(finished):
    out, _ = finished
    _, groups = policies.load(out)
    assert [len(group.labels) for group in groups] == [2, 4]


def test_the_tables():
    """Standard errors over episodes, pooled and over runs; D4RL scores of means."""
    rows = [
        Row({"base": "iql", "seed": seed}, "random", 0.3, 10, returns)
        for seed, returns in enumerate([[0.0, 2.0], [4.0, 4.0]])
    ]
    text = evaluate.report("Hopper-v4", rows)
    assert (
        """\
| base | seed | step | condition | bound | return | score |
| --- | --- | --- | --- | --- | --- | --- |
| iql | 0 | 10 | random | 0.3 | 1.0 ± 1.0 | 0.7 |
| iql | 1 | 10 | random | 0.3 | 4.0 ± 0.0 | 0.7 |
"""
        in text
    )
    pooled = np.std([0.0, 2.0, 4.0, 4.0], ddof=1) / 2
    assert f"| iql | 10 | random | 0.3 | 2 | 2.5 | {pooled:.1f} | 1.5 | 0.7 |" in text
    assert "| seeds | return | SE of pooled episodes | SE of runs | score |" in text
    (row,) = (row._replace(condition="normal", bound=None) for row in rows[:1])
    text = evaluate.report("Pendulum-v1", [row])
    assert "| iql | 0 | 10 | normal |  | 1.0 ± 1.0 |  |" in text
    assert "pooled" not in text


def test_which_run_is_filmed(finished):
    """Counted over the groups, as in the table."""
    _, groups = policies.load(finished[0])
    assert films.nth_run(groups, 1) == (groups[0], 1)
    assert films.nth_run(groups, 5) == (groups[1], 3)
    with pytest.raises(ConfigError, match="--run is 6; there are 6"):
        films.nth_run(groups, 6)


def test_films_that_cannot_be(finished, tmp_path, monkeypatch):
    """Before anything is evaluated: what is wrong, and what to install."""
    env, _ = policies.load(finished[0])
    with pytest.raises(ConfigError, match="target_reward"):
        films.check_video(env, tmp_path / "a.mp4")
    env = env._replace(name="Hopper-v4")
    for path in ("a.gif", "no/such/a.mp4"):
        with pytest.raises(ConfigError, match=r"must end in \.mp4"):
            films.check_video(env, Path(path))
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "BACKENDS", ("nonsense",))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", object())
    with pytest.raises(rendering.RenderingError, match="libegl1 and libgl1-mesa-dri"):
        films.check_video(env, tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(rendering.RenderingError, match=r"imageio-ffmpeg.*'\.\[video"):
        films.check_video(env, tmp_path / "a.mp4")


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
