"""The offline chunk: what an update sees, and that chunks and batches do not matter."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.agents.iql import IQLConfig
from rpex_jax.agents.riql import RIQLConfig
from rpex_jax.agents.td3 import TD3Config
from rpex_jax.attacks.corruption import (
    ELEMENTS,
    Shifts,
    corrupt,
    corruption,
    row_keys,
)
from rpex_jax.training import offline
from rpex_jax.types import Spec
from tests.training.problems import (
    BATCH,
    HIDDEN,
    NUM_ROWS,
    REASSOCIATED,
    glass_agent,
    make_data,
    make_run,
    with_true_flags,
)

SPEC = Spec(observation_dim=3, action_dim=2)
# One multiply and one add, fused or not.
FUSED = dict(rtol=3e-7, atol=1e-7)
# Float32 sums over 400 numbers of order 1 to 10, against float64.
STATISTICS_RTOL = 1e-5


@functools.cache  # compile once for all tests
def program(agent, num_updates):
    chunk = offline.make_chunk(agent, batch_size=BATCH, num_updates=num_updates)
    return jax.jit(chunk)


@functools.partial(jax.jit, static_argnums=0)
def start(agent, run, data):
    return offline.start(agent, SPEC, run, data)


GLASS, PATIENT = glass_agent(), glass_agent(batches=2)
TD3 = TD3Config(learning_rate=1e-2, bc_weight=1.0, hidden_dims=HIDDEN)


def train(run, data, chunks, agent=AGENTS["iql"]):
    """The state after chunks of the given numbers of updates."""
    run = jax.tree.map(jnp.asarray, run)
    state, metrics = start(agent, run, data), None
    for num_updates in chunks:
        state, metrics = program(agent, num_updates)(state, run, data)
    return state, metrics


def damaged(run, data, corrupt_again=0):
    """The whole data set as the run sees it, through `corrupt` at once."""
    keys = row_keys(offline.data_key(run, corrupt_again), jnp.arange(NUM_ROWS))
    rows = corrupt(keys, data.transitions, run.offline_corruption, data.deviations)
    return jax.tree.map(np.asarray, rows)


@pytest.mark.parametrize(
    ("name", "config", "chunks"),
    [
        ("iql", None, (5, 5)),
        ("iql", None, (1,) * 10),
        ("td3", TD3, (2,) * 5),  # whole multiples of its delay
    ],
)
def test_chunks_of_any_length_give_the_same_state(name, config, chunks):
    """Saving more often, or resuming between chunks, changes no result."""
    data, run = with_true_flags(make_data()), make_run(agent=config)
    agent = AGENTS[name]
    whole, _ = train(run, data, (10,), agent)
    parts, _ = train(run, data, chunks, agent)
    assert int(whole.step) == int(parts.step) == 10
    assert int(whole.agent.critic_optimizer.count) == 10
    delay = 1 if config is None else config.policy_delay
    assert int(whole.agent.actor_optimizer.count) == 10 // delay
    chex.assert_trees_all_close(whole, parts, **REASSOCIATED)


@pytest.mark.parametrize(
    ("agent", "configs"),
    [
        (
            "iql",
            [
                IQLConfig(hidden_dims=HIDDEN),
                IQLConfig(1e-2, 0.9, 0.9, 1.0, 0.1, 20.0, hidden_dims=HIDDEN),
            ],
        ),
        (
            "riql",
            [
                RIQLConfig(hidden_dims=HIDDEN),
                RIQLConfig(1e-2, sigma=0.5, quantile=0.5, hidden_dims=HIDDEN),
            ],
        ),
    ],
)
def test_runs_of_a_batch_equal_runs_alone(agent, configs):
    """Runs with other seeds, numbers and damage share a program, not a result."""
    data = with_true_flags(make_data())
    runs = [
        make_run(0, configs[0], rate=0.3),
        make_run(1, configs[1], offline_elements=("reward",), rate=1.0),
    ]
    phase_chunk = jax.vmap(
        offline.make_chunk(AGENTS[agent], batch_size=BATCH, num_updates=10),
        in_axes=(0, 0, None),
    )
    stacked = sweep.stack(runs)
    states = sweep.stack([train(run, data, (), AGENTS[agent])[0] for run in runs])
    together, metrics = jax.jit(phase_chunk)(states, stacked, data)
    for i, run in enumerate(runs):
        alone, alone_metrics = train(run, data, (10,), AGENTS[agent])
        chex.assert_trees_all_close(
            sweep.take((together, metrics), i), (alone, alone_metrics), **REASSOCIATED
        )


def test_seeds_differ_in_weights_batches_and_damage():
    """Two seeds are two samples: initial weights, rows drawn and noise all differ."""
    data, agent = make_data(), GLASS
    first, second = (train(make_run(s), data, (1,), agent)[1]["batch"] for s in (0, 1))
    assert (first.terminations != second.terminations).mean() > 0.9  # rows drawn
    rows = [damaged(make_run(seed), data) for seed in (0, 1)]
    for one, other in zip(rows[0][:4], rows[1][:4], strict=True):
        assert (one != other).any(axis=tuple(range(1, one.ndim))).mean() > 0.5
    weights = [train(make_run(seed), data, ())[0].agent for seed in (0, 1)]
    for name in ("value", "critic", "actor"):
        kernels = [
            x
            for x in jax.tree.leaves(getattr(weights[0], name))
            if x.ndim > 1 and x.any()
        ]
        others = [
            x
            for x in jax.tree.leaves(getattr(weights[1], name))
            if x.ndim > 1 and x.any()
        ]
        assert kernels
        for one, other in zip(kernels, others, strict=True):
            assert (one != other).mean() > 0.99


def test_consecutive_updates_draw_new_rows():
    """The number of the update is in the key: no batch comes twice."""
    data, agent, run = make_data(), GLASS, make_run()
    first = train(run, data, (1,), agent)[1]["batch"].terminations
    second = train(run, data, (1, 1), agent)[1]["batch"].terminations
    assert (first != second).mean() > 0.9


def test_a_delayed_policy_updates_on_stacked_batches():
    """Four updates are two of two batches each, all of them different rows."""
    data, run = make_data(), make_run()
    state, metrics = train(run, data, (2, 2), PATIENT)
    assert int(state.agent) == 2 and int(state.step) == 4
    assert metrics["batch"].observations.shape == (2, BATCH, 3)
    _, earlier = train(run, data, (2,), PATIENT)
    drawn = [*earlier["batch"].terminations, *metrics["batch"].terminations]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert (one != other).mean() > 0.9


def test_a_chunk_that_is_no_multiple_of_the_delay_is_refused():
    """One sentence, before anything is compiled."""
    data, run = make_data(), make_run()
    state, _ = train(run, data, (), PATIENT)
    chunk = offline.make_chunk(PATIENT, batch_size=BATCH, num_updates=3)
    with pytest.raises(ValueError, match=r"num_updates is 3; .* a multiple of 2"):
        jax.eval_shape(chunk, state, run, data)


def test_update_sees_the_standardised_damaged_rows():
    """Each drawn row has the damage that is its own, then is standardised, once.

    Rewards and actions stay as stored; the row numbers in `terminations` tell which
    rows were drawn.
    """
    data, run = make_data(), make_run()
    state, metrics = train(run, data, (1,), GLASS)
    batch = jax.tree.map(np.asarray, metrics["batch"])
    rows = batch.terminations.astype(int) - 1
    expected = jax.tree.map(lambda x: x[rows], damaged(run, data))
    mean, std = np.asarray(state.statistics.mean), np.asarray(state.statistics.std)
    np.testing.assert_array_equal(batch.rewards, expected.rewards)
    np.testing.assert_allclose(batch.actions, expected.actions, **FUSED)
    for name in ("observations", "next_observations"):
        np.testing.assert_allclose(
            getattr(batch, name),
            (getattr(expected, name) - mean) / std,
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize("elements", [(), ("observation",), ("dynamics",), ELEMENTS])
def test_statistics_are_those_of_the_damaged_data(elements):
    """mean and std + 1e-3 over s and s' together, after the damage."""
    data, run = make_data(), make_run(offline_elements=elements)
    state, _ = train(run, data, (), GLASS)
    rows = damaged(run, data)
    both = np.concatenate([rows.observations, rows.next_observations]).astype(
        np.float64
    )
    np.testing.assert_allclose(
        state.statistics.mean, both.mean(0), rtol=STATISTICS_RTOL
    )
    np.testing.assert_allclose(
        state.statistics.std, both.std(0) + 1e-3, rtol=STATISTICS_RTOL
    )
    if elements:  # and not those of the clean data
        clean = np.concatenate(
            [data.transitions.observations, data.transitions.next_observations]
        )
        assert (abs(state.statistics.std - clean.std(0) - 1e-3) > 1e-3).any()


def test_observations_may_be_left_as_they_are():
    """standardise=0: a mean of 0, a deviation of 1, and the damaged rows themselves."""
    data, run = make_data(), make_run().replace(standardise=0)
    state, metrics = train(run, data, (1,), GLASS)
    np.testing.assert_array_equal(state.statistics.mean, np.zeros(3))
    np.testing.assert_array_equal(state.statistics.std, np.ones(3))
    rows = np.asarray(metrics["batch"].terminations).astype(int) - 1
    for name in ("observations", "next_observations"):
        expected = getattr(damaged(run, data), name)[rows]
        np.testing.assert_allclose(getattr(metrics["batch"], name), expected, **FUSED)


def test_clean_data_reach_the_update_unharmed():
    """No corruption is no change, to the last bit."""
    data, run = make_data(), make_run(offline_elements=())
    batch = train(run, data, (1,), GLASS)[1]["batch"]
    rows = np.asarray(batch.terminations).astype(int) - 1
    np.testing.assert_array_equal(batch.actions, data.transitions.actions[rows])
    np.testing.assert_array_equal(batch.rewards, data.transitions.rewards[rows])


def test_new_damage_only_where_asked():
    """corrupt_again: 0 is pretraining's damage to the bit, 1 is another."""
    data, run = make_data(), make_run()
    key = jax.random.key(7)
    old, same, new = (
        offline.sample_rows(
            key, offline.data_key(run, *again), data, run.offline_corruption, NUM_ROWS
        )
        for again in ((), (0,), (1,))
    )
    chex.assert_trees_all_equal(old, same)
    np.testing.assert_array_equal(old.terminations, new.terminations)
    for name in ("observations", "actions", "rewards", "next_observations"):
        changed = getattr(old, name) != getattr(new, name)
        assert changed.mean() > 0.5, name  # rate 0.5 twice leaves 1/4 untouched


def test_metrics_are_means_over_the_chunk():
    """A chunk of two reports the mean of what its updates report."""
    data, run, agent = make_data(), make_run(), GLASS
    _, both = train(run, data, (2,), agent)
    first = train(run, data, (1,), agent)[1]["batch"]
    second = train(run, data, (1, 1), agent)[1]["batch"]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, first, second)
    chex.assert_trees_all_close(both["batch"], mean, rtol=1e-5, atol=1e-6)


def test_no_key_is_used_twice():
    """JAX's checker follows every key through start, scan and damage."""
    with jax.debug_key_reuse(True):
        state, _ = train(make_run(), with_true_flags(make_data()), (1,))
    assert int(state.step) == 1


def test_numbers_do_not_retrace():
    """A program serves every run of its structure: seed, rates and numbers are data."""
    chex.clear_trace_counter()
    data = with_true_flags(make_data())
    chunk = offline.make_chunk(AGENTS["iql"], batch_size=BATCH, num_updates=2)
    chunk = jax.jit(jax.vmap(chex.assert_max_traces(chunk, n=1), in_axes=(0, 0, None)))
    for seed, expectile, rate in ((0, 0.5, 0.0), (1, 0.9, 0.3), (2, 0.7, 1.0)):
        config = IQLConfig(expectile=expectile, beta=seed + 1.0, hidden_dims=HIDDEN)
        runs = sweep.stack([make_run(seed + i, config, rate=rate) for i in range(2)])
        states = [train(sweep.take(runs, i), data, ())[0] for i in range(2)]
        chunk.trace(sweep.stack(states), runs, data)


def test_attacked_rows_come_from_the_table():
    """A hit row moves by its own shift, in batches and in the statistics alike."""
    data = make_data()
    rng = np.random.default_rng(1)
    wide, narrow = (jnp.asarray(rng.normal(size=(50, n)), jnp.float32) for n in (3, 2))
    place = jnp.asarray(rng.integers(0, 50, NUM_ROWS))
    table = offline.AttackedRows(place, Shifts(wide, narrow, 2 * wide))
    told = corruption(("observation", "dynamics"), 0.5, 1.0, adversarial=True)
    run = make_run().replace(offline_corruption=told)
    data = data._replace(attacked=table)
    rows = jnp.arange(NUM_ROWS)
    taken = offline.take_rows(rows, offline.data_key(run), data, told)
    for name in ("observations", "next_observations"):
        clean = np.asarray(getattr(data.transitions, name))
        shift = getattr(table.shifts, name)[place] * getattr(data.deviations, name)
        hit = (np.asarray(getattr(taken, name)) != clean).any(1)
        assert 60 < hit.sum() < 140
        expected = np.where(hit[:, None], clean + shift, clean)
        np.testing.assert_allclose(getattr(taken, name), expected, rtol=1e-6)
    np.testing.assert_array_equal(taken.actions, data.transitions.actions)
    both = np.concatenate([taken.observations, taken.next_observations])
    statistics = start(GLASS, run, data).statistics
    np.testing.assert_allclose(statistics.mean, both.mean(0), rtol=STATISTICS_RTOL)
