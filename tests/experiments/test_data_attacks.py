"""Adversarial damage in a study: who attacks, which rows, once."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import data_attacks, run_configs, study, sweep
from experiments.settings import ConfigError
from rpex_jax import results
from rpex_jax.data import sources
from rpex_jax.training import offline
from rpex_jax.training.offline import put_on_device
from tests import diagnostic
from tests.experiments.tiny import small_world, tiny_config, write_data

ENV = diagnostic.target_reward()


@pytest.fixture(scope="module", autouse=True)
def world():
    with small_world():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.npz"
    write_data(path, ENV.spec.observation_dim, ENV.spec.action_dim)
    return path


def config_for(data, **sweep_axes):
    config = tiny_config(data, 1)
    with config.unlocked():
        config.sweep.update(sweep_axes)
        config.agent.edac.num_critics = 3
    return config


@pytest.fixture(scope="module")
def attacker(data, tmp_path_factory):
    """The folder of an EDAC agent that a study trained."""
    out = tmp_path_factory.mktemp("edac") / "out"
    axes = dict(base=("edac",), method=("offline",), corruption=("clean",))
    sweep.run_study(config_for(data, **axes), out, resume=False)
    return out


def attacked_config(data, attacker, **axes):
    names = ("adversarial-observation", "adversarial-dynamics", "reward")
    config = config_for(data, **dict(corruption=names, seed=(0, 1)) | axes)
    config.attacker = str(attacker)
    return config


def test_rows_that_are_hit_move_within_their_bound(data, attacker, tmp_path):
    """In every run the attacked element alone, within a deviation; searched once."""
    config = attacked_config(data, attacker)
    runs = study.expand_grid(config)
    clean = put_on_device(sources.load(str(data)))
    who = data_attacks.load_attacker(runs, ENV)
    with_table = data_attacks.with_attacks(clean, tmp_path, runs, who)
    rows = jnp.arange(64)
    for run in runs:
        told = run_configs.online_run(run)
        taken = offline.take_rows(
            rows, offline.data_key(told), with_table, told.offline_corruption
        )
        moved = {
            name: np.asarray(getattr(taken, name) - getattr(clean.transitions, name))
            for name in ("observations", "actions", "next_observations")
        }
        field = {
            "adversarial-observation": "observations",
            "adversarial-dynamics": "next_observations",
            "reward": None,
        }[run.labels["corruption"]]
        for name, shift in moved.items():
            if name != field:
                assert not shift.any()
                continue
            hit = shift.any(1)
            assert 8 < hit.sum() < 32  # of 64, at a rate of 0.3
            deviation = np.asarray(getattr(clean.deviations, name))
            assert (abs(shift) <= deviation * (1 + 1e-5)).all()
            # a row without a place in the table would have got the first one's
            place = np.asarray(with_table.attacked.place)[hit]
            assert len(set(place)) == len(place)
    again = data_attacks.with_attacks(clean, tmp_path, runs, who)
    np.testing.assert_array_equal(again.attacked.place, with_table.attacked.place)
    (tmp_path / "attacks" / "rows.npz").unlink()
    assert with_table.attacker is not None  # online damage is adversarial too
    axes = dict(corruption=("online-adversarial-dynamics",))
    runs = study.expand_grid(attacked_config(data, attacker, **axes))
    only_online = data_attacks.with_attacks(clean, tmp_path, runs, who)
    assert only_online.attacked is None and only_online.attacker is not None


def test_a_study_with_adversarial_damage_trains(data, attacker, tmp_path):
    """To the end of every run; and a study that goes on searches no second time."""
    names = ("adversarial-action", "adversarial-reward", "online-adversarial-dynamics")
    axes = dict(corruption=names, seed=(0,), method=("direct",))
    config = attacked_config(data, attacker, **axes)
    with config.unlocked():
        config.corruptions["adversarial-action"].settings = ()
    out = tmp_path / "out"
    sweep.run_study(config, out, resume=False)
    rows = results.read_rows(out / "chunks.jsonl")
    online = [row for row in rows if row["phase"] == "online"]
    assert {row["corruption"] for row in online} == set(names)
    assert all(np.isfinite(row["critic/loss"]) for row in rows)
    table = out / "attacks" / "rows.npz"
    before = table.stat().st_mtime_ns
    sweep.run_study(config, out, resume=True)
    assert table.stat().st_mtime_ns == before


def problem(config):
    runs = study.expand_grid(config)
    with pytest.raises(ConfigError) as error:
        data_attacks.load_attacker(runs, ENV)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_attack(data, attacker, tmp_path):
    """No attacker, one of another kind, of another world, two bounds in one study."""
    config = attacked_config(data, attacker)
    config.attacker = ""
    assert "attacker is empty" in problem(config)
    config.attacker = str(tmp_path)
    assert "none is complete" in problem(config)
    config.attacker = str(attacker)
    with config.unlocked():
        config.sweep.axes = ("offline.scale=0.5,1.0",)
    assert "must agree" in problem(config)
    iql = config_for(data, corruption=("clean",), method=("offline",))
    sweep.run_study(iql, tmp_path / "iql", resume=False)
    config = attacked_config(data, tmp_path / "iql")
    assert "no EDAC agent" in problem(config)
    runs = study.expand_grid(attacked_config(data, attacker))
    other = ENV._replace(name="wider", spec=ENV.spec._replace(observation_dim=9))
    with pytest.raises(ConfigError, match="must be for wider"):
        data_attacks.load_attacker(runs, other)
    # What needs no search needs no attacker.
    rewards = config_for(data, corruption=("adversarial-reward", "mixed"))
    assert data_attacks.load_attacker(study.expand_grid(rewards), ENV) is None
