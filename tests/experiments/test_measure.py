"""Measures of a sweep's policies against SciPy and NumPy on what they do."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments import measure, policies, report
from experiments import measured as measured_runs
from experiments import sweep as program
from experiments.configs import collect
from experiments.reports import comparison as comparison_report
from experiments.settings import ConfigError
from rpex_jax import checkpoints, sweep
from rpex_jax.data.statistics import standardise
from tests.experiments.tiny import small_world, tiny_config, write_data

SAMPLES = 400


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """PEX and RPEX of three policies, on clean data: the folder, its data, its groups
    and what is measured of them."""
    folder = tmp_path_factory.mktemp("measure")
    write_data(folder / "data.npz", observation_dim=1, action_dim=1)
    config = tiny_config(folder / "data.npz", chunks=2).unlock()
    config.expansion.num_policies = 3
    config.sweep.corruption = ("clean",)
    config.evaluation.episodes = 1
    with small_world():
        program.run_study(config.lock(), folder / "out", resume=False)
        _, groups = policies.load(folder / "out")
    data = measure.data_of(folder / "out")
    measured = [measure.measure(group, data, SAMPLES) for group in groups]
    return folder / "out", data, groups, measured


def test_kurtosis_is_that_of_actions_at_states_of_the_data(finished):
    """Each run of a group alone, through its agent; the states are the clean ones."""
    _, data, (_, online), (_, measured) = finished
    keys = jax.random.split(jax.random.key(0), 4)
    rows = jax.random.randint(keys[0], (SAMPLES,), 0, 64)
    states = data.transitions.observations[rows]
    for i, run in enumerate(measured):
        of_run = (online.states, online.statistics, online.runs, online.pretrained)
        state, statistics, config = sweep.take(of_run[:3], i)
        first = sweep.take((of_run[3].states, of_run[3].configs), i)
        observations = standardise(states, statistics)
        after = online.agent.act(
            keys[1], state, observations, config.agent, greedy=False
        )
        before = online.pretrained.agent.act(
            keys[2], first[0], observations, first[1], greedy=False
        )
        for name, counts, actions in (
            ("kurtosis", run.after, after),
            ("kurtosis_before", run.before, before),
        ):
            actions = np.asarray(actions, np.float64)
            expected = scipy.stats.kurtosis(actions).mean()
            np.testing.assert_allclose(run.numbers[name], expected, atol=2e-3)
            inside = np.clip(actions[:, 0], *measured_runs.EDGES[[0, -1]])
            binned = np.histogram(inside, measured_runs.EDGES)[0]
            assert abs(counts[0] - binned).sum() <= 4  # of rounding at an edge


def test_kurtosis_of_q_targets(finished):
    """r + gamma (1 - d) V(s') on the rows as the run sees them, here clean."""
    _, data, (offline, _), ((run,), _) = finished
    rows = jax.random.randint(
        jax.random.split(jax.random.key(0), 4)[0], (SAMPLES,), 0, 64
    )
    state, statistics, config = sweep.take(
        (offline.states, offline.statistics, offline.runs), 0
    )
    batch = jax.tree.map(lambda x: x[rows], data.transitions)
    v = offline.agent.state_value(
        state, standardise(batch.next_observations, statistics), config.agent
    )
    targets = np.asarray(batch.rewards, np.float64)
    targets = targets + 0.99 * (1 - batch.terminations) * np.asarray(v)
    np.testing.assert_allclose(
        run.numbers["kurtosis_q_targets"], scipy.stats.kurtosis(targets), atol=2e-3
    )


def test_selection_is_measured_where_there_is_one(finished):
    """PEX has no correction; RPEX has one. Pretraining has no set."""
    *_, ((pretrained,), (pex, rpex)) = finished
    assert not any(name.startswith("selection/") for name in pretrained.numbers)
    assert pex.labels["method"] == "pex" and rpex.labels["method"] == "rpex"
    assert pex.numbers["selection/correction_size"] == 0.0
    assert rpex.numbers["selection/correction_size"] > 0.0
    for run in (pex, rpex):
        shares = [run.numbers[f"selection/share_{i}"] for i in range(3)]
        np.testing.assert_allclose(sum(shares), 1.0, rtol=1e-6)
        assert shares[2] == run.numbers["selection/online_share"]
        assert 1.0 <= run.numbers["selection/effective_members"] <= 3.0
        assert run.after.sum() == run.before.sum() == SAMPLES


def test_earlier_policies_are_in_the_set(finished):
    """One from the middle of pretraining and that from its end; they differ."""
    out, _, (pretrained, online), _ = finished
    like = pretrained.states.actor
    snapshot = out / "snapshots" / "offline-0"
    middle = checkpoints.restore(snapshot, 1, like)
    for place, expected in enumerate((middle, like)):
        found = jax.tree.map(lambda x, i=place: x[:, i], online.states.members)
        of_both = jax.tree.map(lambda x: jnp.concatenate([x, x]), expected)
        chex.assert_trees_all_equal(found, of_both)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(middle, like)


def test_what_is_written(finished, tmp_path):
    """A row a method, no NaN in the JSON, a picture; nothing half-written."""
    *_, measured = finished
    runs = [run for group in measured for run in group]
    runs[0].numbers["kurtosis_q_targets"] = np.nan
    measured_runs.write(tmp_path / "new", runs, {})
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["actions.png", "measures.json", "measures.md"]
    text = (tmp_path / "new" / "measures.md").read_text()
    assert len([line for line in text.splitlines() if line.startswith("| iql")]) == 3
    content = json.loads((tmp_path / "new" / "measures.json").read_text())
    assert content["runs"][0]["kurtosis_q_targets"] is None
    assert content["runs"][2]["kurtosis"] == runs[2].numbers["kurtosis"]


def test_the_report_shows_what_was_measured(finished):
    """Read back from the file, number for number; without it there is no such part."""
    out, *_, measured = finished
    assert comparison_report.policies(out / "measures") == []
    runs = [run for group in measured for run in group]
    measured_runs.write(out / "measures", runs, {})
    for ours, theirs in zip(measured_runs.read(out / "measures"), runs, strict=True):
        np.testing.assert_equal(ours._asdict(), theirs._asdict())
    report.write(out)
    page = (out / "report.html").read_text()
    assert "effective members" in page and "data:image/png;base64," in page


def test_a_collection_has_no_data_set_to_act_at(tmp_path):
    config = collect.get_config().to_dict()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="a collection; it must be of a sweep"):
        measure.data_of(tmp_path)
