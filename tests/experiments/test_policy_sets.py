"""Which frozen policies a larger set has."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import policy_sets, study
from experiments.configs.default import default_config
from experiments.programs import pretraining_key
from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.agents.iql import IQLConfig
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.training.offline import OfflineState
from rpex_jax.transfer import restandardised
from rpex_jax.types import Spec

CHUNKS = 10


def runs_of(**expansion):
    config = default_config()
    config.sweep.update(dict(base=("iql",), method=("direct", "pex")))
    config.sweep.update(dict(corruption=("clean", "action"), seed=(0, 1, 2)))
    config.offline.update(dict(chunk=5, steps=5 * CHUNKS))
    config.expansion.update(expansion)
    return study.expand_grid(config)


@pytest.fixture(scope="module")
def pretrained():
    """A state for each pretraining, with weights and statistics of its own."""
    config = IQLConfig(hidden_dims=(4,))
    like = jax.eval_shape(
        lambda: AGENTS["iql"].init(jax.random.key(0), Spec(3, 2), config)
    )
    rng, states = np.random.default_rng(0), {}
    for run in runs_of():
        draws = jax.tree.map(lambda x: jnp.asarray(rng.uniform(1, 2, x.shape)), like)
        statistics = ObservationStatistics(*jnp.asarray(rng.uniform(1, 2, (2, 3))))
        states[pretraining_key(run)] = OfflineState(draws, statistics, jnp.zeros(()))
    return states


def gathered(tmp_path, runs, pretrained):
    """The sets of PEX, each with the run it belongs to."""
    of_program = [run for run in runs if run.labels["method"] == "pex"]
    groups = {"offline-0": list(pretrained)}
    found = policy_sets.gather(tmp_path, of_program, runs, pretrained, groups)
    return [(run, sweep.take(found, i)) for i, run in enumerate(of_program)]


def test_snapshots_are_evenly_apart_and_end_with_the_policy(tmp_path, pretrained):
    runs = runs_of(num_policies=5)
    assert policy_sets.snapshot_chunks(runs) == {3, 5, 8}
    assert policy_sets.snapshot_chunks(runs_of(num_policies=11)) == set(range(1, 10))
    assert not policy_sets.snapshot_chunks(runs_of(num_policies=2))
    assert not policy_sets.snapshot_chunks(runs_of(num_policies=3, members="seeds"))
    last = sweep.stack([state.agent.actor for state in pretrained.values()])
    for chunk in (3, 5, 8):
        earlier = jax.tree.map(lambda x, c=chunk: x - c, last)
        policy_sets.save_snapshot(tmp_path, "offline-0", chunk, earlier)
    for run, members in gathered(tmp_path, runs, pretrained):
        own = pretrained[pretraining_key(run)].agent.actor
        for place, ago in enumerate((3, 5, 8, 0)):
            expected = jax.tree.map(lambda x, ago=ago: x - ago, own)
            chex.assert_trees_all_equal(sweep.take(members, place), expected)


def test_members_of_other_seeds_see_what_they_were_trained_with(tmp_path, pretrained):
    """The run's own first; the same corruption; in units of the run's statistics."""
    runs = runs_of(num_policies=4, members="seeds")
    for run, members in gathered(tmp_path, runs, pretrained):
        own = pretrained[pretraining_key(run)]
        chex.assert_trees_all_close(sweep.take(members, 0), own.agent.actor, rtol=1e-6)
        for place in range(3):
            seed = (run.labels["seed"] + place) % 3
            [other] = [
                pretrained[pretraining_key(o)]
                for o in runs
                if o.labels == run.labels | {"seed": seed}
            ]
            expected = restandardised(
                other.agent.actor, other.statistics, own.statistics
            )
            chex.assert_trees_all_equal(sweep.take(members, place), expected)


def test_a_pair_needs_nothing(tmp_path, pretrained):
    """K = 2 keeps the pretrained policy alone, as in the papers."""
    runs = runs_of(num_policies=2)
    policy_sets.check(runs)
    assert policy_sets.gather(tmp_path, runs[-1:], runs, pretrained, {}) is None
