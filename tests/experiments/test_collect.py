"""What each kind of data set holds, and that nothing half is left or started."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import minari
import numpy as np
import pytest
from scipy import stats

from experiments import collect, folders, kinds, policies, rollouts
from experiments import evaluate as evaluation
from experiments.configs import collect as defaults
from experiments.settings import ConfigError
from rpex_jax import results
from rpex_jax.data import policy_files, sources
from rpex_jax.data.dataset import (
    Dataset,
    DatasetError,
    episode_returns,
    episode_slices,
)
from rpex_jax.data.policy_files import PolicyFileError
from rpex_jax.types import Spec
from tests.data.test_policy_files import make_policy

ROOT = Path(__file__).parents[2]
STEPS, MEDIUM, ROWS = 600, 400, 700


def tiny_config(**settings):
    config = defaults.get_config().unlock()
    config.update_from_flattened_dict(
        {
            "kinds": kinds.KINDS,
            "dataset_id": "test/{kind}-v0",
            "rows": ROWS,
            "collectors": 3,
            "steps": STEPS,
            "warmup": 200,
            "evaluate_every": 200,
            "episodes": 3,
            "batch_size": 8,
            "agent.sac.hidden_dims": (8,),
            "medium.score": -1e6,
            "medium.steps": MEDIUM,
        }
        | settings
    )
    return config.lock()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where Minari keeps data sets in this module."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("minari")
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        yield folder


@pytest.fixture(scope="module")
def collected(root, tmp_path_factory):
    """All kinds on Hopper: kind -> data set, and the folder."""
    out = tmp_path_factory.mktemp("out")
    ids = collect.collect(tiny_config(), out)
    assert ids == {kind: f"test/{kind}-v0" for kind in kinds.KINDS}
    return {kind: sources.load(ids[kind]) for kind in kinds.KINDS}, out


def assert_same(one: Dataset, other: Dataset) -> None:
    for name, ours, theirs in zip(
        one.transitions._fields, one.transitions, other.transitions, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    np.testing.assert_array_equal(one.episode_ends, other.episode_ends)


def last_start(dataset: Dataset) -> int:
    return episode_slices(dataset)[-1].start


def test_row_counts_are_exact(collected):
    datasets, _ = collected
    counts = {kind: len(data.episode_ends) for kind, data in datasets.items()}
    medium = datasets["medium"]
    cut = medium.transitions.terminations[-1] == 0
    first = last_start(medium) if cut else ROWS
    assert counts == {
        "random": ROWS,
        "medium-replay": MEDIUM,
        "medium": ROWS,
        "medium-expert": first + ROWS,
        "expert": ROWS,
        "full-replay": STEPS,
    }


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_episodes_end_where_hopper_falls_and_nowhere_else(collected, kind):
    """Below 0.7 m or tilted by 0.2; only the last episode is cut.

    These policies never last 1000 steps, so no time limit comes in. In medium-expert
    the medium part has no cut episode.
    """
    dataset = collected[0][kind]
    height, pitch = dataset.transitions.next_observations[:, :2].T
    fallen = (height <= 0.7) | (np.abs(pitch) >= 0.2)
    np.testing.assert_array_equal(dataset.transitions.terminations, fallen)
    np.testing.assert_array_equal(dataset.episode_ends[:-1], fallen[:-1])
    starts = [rows.start for rows in episode_slices(dataset)]
    start = np.zeros(11)
    start[0] = 1.25
    noise = dataset.transitions.observations[starts] - start
    assert np.abs(noise).max() <= 5e-3 + 1e-6


def test_the_medium_replay_is_how_the_full_replay_begins(collected):
    datasets, _ = collected
    prefix = rollouts.cut(datasets["full-replay"], 0, MEDIUM)
    assert_same(rollouts.closed(prefix), datasets["medium-replay"])


def test_medium_expert_is_medium_then_expert(collected):
    """Without the last episode of the first where that is cut."""
    datasets, _ = collected
    first = len(datasets["medium-expert"].episode_ends) - ROWS
    joined = rollouts.join(
        [rollouts.cut(datasets["medium"], 0, first), datasets["expert"]]
    )
    assert_same(datasets["medium-expert"], joined)


def test_random_actions_are_uniform(collected):
    """Kolmogorov and Smirnov would see a share of 6 % of other actions."""
    actions = collected[0]["random"].transitions.actions
    assert stats.kstest(actions.ravel(), stats.uniform(-1, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("policy", ["medium", "expert"])
def test_rollouts_are_samples_of_the_saved_policy(collected, policy):
    """Whitened by the checkpoint's own mean and deviation they are standard normal."""
    datasets, out = collected
    _, [saved] = policies.load(out / "checkpoints" / policy)
    config = saved.runs.agent
    transitions = datasets[policy].transitions
    state = policies.sweep.take(saved.states, 0)
    distribution = saved.agent.policy(state, transitions.observations, config)
    actions = np.clip(transitions.actions.astype(np.float64), -1 + 1e-7, 1 - 1e-7)
    noise = (np.arctanh(actions) - distribution.mean) / np.exp(distribution.log_std)
    assert stats.kstest(np.ravel(noise), stats.norm.cdf).pvalue > 1e-3


def test_the_evaluator_finds_the_curve_again(collected):
    """The same policies, steps and randomness: the same mean returns."""
    _, out = collected
    with open(out / "curve.csv") as file:
        curve = {int(row["step"]): row for row in csv.DictReader(file)}
    assert list(curve) == [200, 400, 600]
    env, groups = policies.load(out)
    rows = evaluation.evaluate(env, groups, episodes=3)
    assert [row.labels["policy"] for row in rows] == ["expert", "medium"]
    for row, step in zip(rows, (STEPS, MEDIUM), strict=True):
        assert row.step == step and len(row.returns) == 3
        mean = float(curve[step]["mean_return"])
        # another program: contacts make some 1e-5 of a reset's last bit
        assert np.mean(row.returns) == pytest.approx(mean, rel=1e-4)
        score = (mean + 20.272305) / 3254.572305 * 100
        assert score == pytest.approx(float(curve[step]["score"]))


def test_minari_has_the_metadata(collected):
    """Environment, policy, references and command, as Minari itself reads them."""
    loaded = minari.load_dataset("test/medium-replay-v0")
    assert loaded.env_spec.id == "Hopper-v4" and loaded.total_steps == MEDIUM
    metadata = loaded.storage.metadata
    versions = json.loads((collected[1] / "versions.json").read_text())
    assert metadata["command"] == versions["command"]
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == (
        -20.272305,
        3234.3,
    )
    score = (metadata["policy_return"] + 20.272305) / 3254.572305 * 100
    assert metadata["policy_score"] == pytest.approx(score)
    assert "policy_score" not in minari.load_dataset("test/random-v0").storage.metadata


def test_what_is_there_is_not_replaced(collected, root, tmp_path):
    """Neither a data set nor a folder, unless that is asked for."""
    _, out = collected
    with pytest.raises(DatasetError, match="test/random-v0 exists already"):
        collect.collect(tiny_config(), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"--out .* --overwrite"):
        collect.collect(tiny_config(dataset_id="other/{kind}-v0"), out)
    with pytest.raises(ConfigError, match=r"--builtin .* one kind, not 6"):
        collect.collect(tiny_config(), tmp_path / "out", builtin="a.npz")


def test_only_a_collection_is_overwritten(root, tmp_path):
    """The checkpoints of a sweep stay, and so do those that another process writes."""
    config, study = tiny_config(dataset_id="other/{kind}-v0"), tmp_path / "checkpoints"
    study.mkdir()
    (tmp_path / "config.json").write_text('{"sweep": {}}')
    with pytest.raises(ConfigError, match="is no collection's folder"):
        collect.collect(config, tmp_path, overwrite=True)
    (tmp_path / "config.json").write_text('{"kinds": []}')
    with folders.locked(tmp_path), pytest.raises(ConfigError, match="at work"):
        collect.collect(config, tmp_path, overwrite=True)
    assert study.exists()


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        ({"score": 50.0}, [False, True, True]),  # 1607 of Hopper
        ({"score": 50.0, "steps": 30}, [False, False, True]),
        ({"score": 1.0, "mean_return": 1700.0}, [False, False, True]),
        ({"score": None, "steps": 20}, [False, True, True]),
        ({"score": None}, [False, False, False]),
    ],
)
def test_when_a_policy_is_reached(goal, reached):
    """By score, by return or by steps; with none of them, at the end of training."""
    config = tiny_config(**{"medium.steps": 0}).unlock()
    config.medium.score = None
    config.medium.update(goal)
    points = ((10, 1600.0), (20, 1608.0), (30, 1800.0))
    assert [kinds.is_reached("medium", config, *point) for point in points] == reached


HOPPER = Spec(observation_dim=11, action_dim=3)
ORIGIN = "Policies of a zoo, MIT License."
POLICIES = ("expert", "medium")  # of a collection, as they are found


@pytest.fixture(scope="module")
def ladder_of(collected, tmp_path_factory):
    """Two files of weights and a collection's two policies, as one data set each."""
    folder = tmp_path_factory.mktemp("policies")
    for name, seed in (("low", 0), ("high", 1)):
        arrays = make_policy("gaussian", "tanh", (4,), HOPPER, seed)
        # wide enough that no action repeats, narrow enough that few are clipped
        np.savez(folder / f"{name}.npz", **arrays | {"log_std": np.full(3, -1.0)})
    sources_of = (folder / "low.npz", collected[1], folder / "high.npz")
    settings = {
        "kinds": ("mixed", "expert"),
        "policies": tuple(map(str, sources_of)),
        "dataset_id": "ladder/{kind}-v0",
        "origin": ORIGIN,
    }
    out = tmp_path_factory.mktemp("out")
    ids = collect.collect(tiny_config(**settings), out)
    assert ids == {kind: f"ladder/{kind}-v0" for kind in ("mixed", "expert")}
    return {kind: sources.load(ids[kind]) for kind in ids}, out, settings


def made_by(path, dataset):
    """Whether each row's action is within five deviations of the file's mean."""
    agent, weights = policy_files.load(path, HOPPER)
    mode = agent.policy(weights, jnp.asarray(dataset.transitions.observations), ())
    mode = np.clip(mode.mode(), -1.0, 1.0)
    return (abs(dataset.transitions.actions - mode) < 5 * np.exp(-1.0)).all(-1)


def test_a_mixed_set_has_an_equal_share_of_every_policy(ladder_of):
    """Whole episodes, at most a quarter of the rows each, of files and checkpoints, in
    random order; the table has the same returns."""
    datasets, out, settings = ladder_of
    mixed = datasets["mixed"]
    told = json.loads((out / "mixed-returns.json").read_text())
    ours = [f"{Path(settings['policies'][1]).name} policy={p} seed=0" for p in POLICIES]
    names = ["low", *ours, "high"]
    assert list(told) == names
    for of_policy in told.values():
        assert ROWS // 4 - 100 < of_policy["transitions"] <= ROWS // 4
    rows = sum(of_policy["transitions"] for of_policy in told.values())
    assert len(mixed.episode_ends) == rows
    fallen = mixed.transitions.terminations > 0
    np.testing.assert_array_equal(mixed.episode_ends, fallen)  # none is cut
    recorded = episode_returns(mixed)
    expected = np.concatenate([of_policy["returns"] for of_policy in told.values()])
    assert len(recorded) == len(expected) and (recorded != expected).any()
    np.testing.assert_allclose(np.sort(recorded), np.sort(expected), rtol=1e-6)
    page = (out / "mixed-returns.md").read_text()
    low = told["low"]
    assert f"| low | {low['transitions']} | {len(low['returns'])} |" in page
    assert f"| {np.mean(low['returns']):.0f} |" in page


def test_the_expert_is_the_last_policy(ladder_of):
    """Its samples alone, as many whole episodes as fit."""
    datasets, _, settings = ladder_of
    assert made_by(settings["policies"][-1], datasets["expert"]).mean() > 0.999
    assert made_by(settings["policies"][0], datasets["expert"]).mean() < 0.5
    assert ROWS - 100 < len(datasets["expert"].episode_ends) <= ROWS


def test_where_policies_come_from_stays_with_their_data(ladder_of):
    """Origin, who acted, and the references that scores are made with."""
    metadata = minari.load_dataset("ladder/mixed-v0").storage.metadata
    assert f" {ORIGIN} " in metadata["description"]
    expert = minari.load_dataset("ladder/expert-v0").storage.metadata
    assert expert["algorithm_name"] == "high"
    assert metadata["algorithm_name"].startswith("low, ")
    assert metadata["algorithm_name"].endswith("policy=medium seed=0, high")
    assert metadata["ref_max_score"] == 3234.3


def test_a_policy_below_what_was_asked_for_is_said(root, ladder_of, tmp_path, capsys):
    """It is recorded, with a notice on the screen and in its description."""
    _, _, settings = ladder_of
    told = settings | {"dataset_id": "missed/{kind}-v0", "expert.score": 90.0}
    collect.collect(tiny_config(**told | {"kinds": ("expert",)}), tmp_path / "out")
    notice = "The expert policy has a score of "
    assert f"notice: {notice}" in capsys.readouterr().out
    metadata = minari.load_dataset("missed/expert-v0").storage.metadata
    assert notice in metadata["description"]
    assert "90.0 was asked for" in metadata["description"]


def test_a_training_that_ends_too_early_says_so(root, tmp_path, capsys):
    """Its last policy is medium all the same."""
    settings = {"medium.score": 34.0, "dataset_id": "early/{kind}-v0"}
    settings |= {"kinds": ("medium-replay",), "steps": 400}
    collect.collect(tiny_config(**settings), tmp_path / "out")
    assert "notice: The medium policy has a score" in capsys.readouterr().out
    metadata = minari.load_dataset("early/medium-replay-v0").storage.metadata
    assert "34.0 was asked for" in metadata["description"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kinds": ("mixed",)}, "kinds has 'mixed'.*policies"),
        ({"kinds": ("medium",), "policies": ("a",)}, "kinds is 'medium'.*mixed"),
        ({"kinds": ("mixed",), "policies": ("none.npz",)}, "none.npz is no file"),
        ({"kinds": ("mixed",), "policies": ("none",)}, "policies is .*none"),
    ],
)
def test_policies_that_cannot_be_recorded(root, tmp_path, settings, words):
    """Before anything is compiled, and nothing is left."""
    config = tiny_config(**settings | {"dataset_id": "bad/{kind}-v0"})
    with pytest.raises((ConfigError, PolicyFileError), match=words):
        collect.collect(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_policies_of_another_environment(collected, root, tmp_path):
    """A checkpoint of Hopper records nothing of Walker2d."""
    settings = {"kinds": ("mixed",), "policies": (str(collected[1]),)}
    config = tiny_config(
        **settings | {"env": "Walker2d-v4", "dataset_id": "w/{kind}-v0"}
    )
    with pytest.raises(ConfigError, match=r"of Hopper-v4; it must be of Walker2d-v4"):
        collect.collect(config, tmp_path / "out")


def test_an_expert_that_is_several_and_names_that_are_taken(
    collected, ladder_of, root, tmp_path
):
    """A collection's folder holds two policies; a file can be given once."""
    low, ours, _ = ladder_of[2]["policies"]
    settings = {"dataset_id": "two/{kind}-v0", "kinds": ("expert",)}
    with pytest.raises(ConfigError, match=r"policies ends with .* holds 2; the expert"):
        collect.collect(tiny_config(policies=(low, ours), **settings), tmp_path / "out")
    with pytest.raises(ConfigError, match="'low' is there already"):
        collect.collect(tiny_config(policies=(low, low), **settings), tmp_path / "out")


def test_a_share_without_an_episode(root, ladder_of, tmp_path):
    """Of four rows no policy has a whole episode."""
    _, _, settings = ladder_of
    config = tiny_config(**settings | {"dataset_id": "few/{kind}-v0", "rows": 4})
    for _ in range(2):  # what failed leaves nothing that the next must overwrite
        with pytest.raises(ConfigError, match=r"rows is 4.*less than an episode"):
            collect.collect(config, tmp_path / "out")


def test_a_policy_that_gives_no_number_is_not_recorded(root, tmp_path):
    """Its weights are finite; a hidden unit is not, and has a weight of 0."""
    arrays = make_policy("deterministic", "relu", (4,), HOPPER)
    huge, zero = np.full((11, 4), 3e38, np.float32), np.zeros((4, 3), np.float32)
    huge[:, ::2] *= -1  # of one sign or the other, none is cut off at 0
    arrays |= {"kernel_0": huge, "kernel_mean": zero}
    np.savez(tmp_path / "huge.npz", **arrays)
    settings = {"kinds": ("mixed",), "policies": (str(tmp_path / "huge.npz"),)}
    config = tiny_config(**settings | {"dataset_id": "huge/{kind}-v0"})
    with pytest.raises(DatasetError, match="not finite"):
        collect.collect(config, tmp_path / "out")
    assert not (root / "huge").exists()


@pytest.mark.slow  # a minute; each program has tests of its own
def test_collect_load_train_and_evaluate_in_one_shell(root, tmp_path, monkeypatch):
    """A user's own environment, from nothing to a trained table, as command lines."""
    page = (ROOT / "docs" / "gymnasium.md").read_text()
    module = re.search(r'title="point_mass.py"\n(.*?)```', page, flags=re.DOTALL)
    (tmp_path / "point_mass.py").write_text(module[1])
    monkeypatch.syspath_prepend(tmp_path)  # Minari makes the environment again
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles twice as fast
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    }

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"experiments.{program}", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    env, dataset_id = "point_mass:PointMass-v0", "own/medium-replay-v0"
    run(
        "collect",
        "--config=experiments/configs/collect.py",
        f"--config.env={env}",
        "--config.dataset_id=own/{kind}-v0",
        "--config.steps=120",
        "--config.warmup=60",
        "--config.evaluate_every=60",
        "--config.medium.steps=120",
        "--config.batch_size=8",
        "--config.agent.sac.hidden_dims=(8,)",
        f"--out={tmp_path / 'collected'}",
        f"--builtin={tmp_path / 'compact.npz'}",
    )
    loaded = minari.load_dataset(dataset_id)
    assert loaded.total_steps == 120
    assert loaded.recover_environment().spec.id == "PointMass-v0"
    assert_same(sources.load(tmp_path / "compact.npz"), sources.load(dataset_id))

    out = tmp_path / "study"
    run(
        "sweep",
        "--config=experiments/configs/quickstart.py",
        f"--config.env={env}",
        f"--config.data.source={dataset_id}",
        "--config.sweep.method=('direct',)",
        "--config.sweep.corruption=('clean',)",
        "--config.agent.iql.hidden_dims=(8,)",
        "--config.offline.steps=4",
        "--config.offline.chunk=2",
        "--config.online.steps=8",
        "--config.online.warmup=4",
        "--config.online.chunk=4",
        "--config.evaluation.episodes=2",
        f"--out={out}",
    )
    rows = results.read_rows(out / "chunks.jsonl")
    told = run(
        "evaluate",
        f"--checkpoint={out / 'checkpoints' / 'online-0'}",
        "--episodes=2",
        f"--out={tmp_path / 'returns.json'}",
    )
    assert told.count("| normal |") == 3  # two seeds, and their mean
    again = json.loads((tmp_path / "returns.json").read_text())["rows"]
    last = {row["seed"]: row["returns"] for row in rows if row["phase"] == "online"}
    assert len(again) == len(last) == 2
    for row in again:
        theirs = last[row["labels"]["seed"]]  # of another program, in another process
        np.testing.assert_allclose(row["returns"], theirs, rtol=1e-5, atol=1e-6)
