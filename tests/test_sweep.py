"""Grids, groups and stacks; and that a run's place in a batch is of no consequence."""

import collections
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
from rpex_jax.attacks.corruption import ELEMENTS
from rpex_jax.expansion import ExpansionConfig
from rpex_jax.methods import METHODS
from tests import diagnostic
from tests.training.problems import (
    BATCH,
    HIDDEN,
    glass_agent,
    make_data,
    make_run,
    with_true_flags,
)

# A batch of another size may add in another order; some twenty Adam steps at rate 1e-2
# turn a last-bit difference of a gradient into some 1e-6 of a weight of order 1.
REASSOCIATED = dict(rtol=1e-4, atol=2e-5)
ENV = diagnostic.target_reward()
DATA = with_true_flags(make_data(observation_dim=1, action_dim=1))
IQL = IQLConfig(learning_rate=1e-2, hidden_dims=HIDDEN)


def test_grid_varies_the_last_axis_fastest():
    """The order of runs is the order a reader expects: as nested loops."""
    points = sweep.grid({"method": ("pex", "rpex"), "seed": (0, 1, 2)})
    assert [tuple(point.items()) for point in points] == [
        (("method", method), ("seed", seed))
        for method in ("pex", "rpex")
        for seed in (0, 1, 2)
    ]
    assert sweep.grid({}) == [{}]
    assert sweep.grid({"seed": ()}) == []


def test_group_by_keeps_the_order_of_appearance():
    """Groups in order of their first member, members in order, none lost."""
    groups = sweep.group_by([3, 1, 4, 1, 5, 9, 2, 6], lambda n: n % 3)
    assert list(groups.items()) == [(0, [3, 9, 6]), (1, [1, 4, 1]), (2, [5, 2])]


def test_structure_is_blind_to_numbers():
    """Seeds, rates and every float of a config are data: one program."""
    run = make_run(0, ExpansionConfig(IQL, kappa=0.0))
    other = make_run(
        7,
        ExpansionConfig(IQL.replace(expectile=0.9, align=1.0), kappa=0.3, epsilon=0.1),
        offline_elements=("reward",),
        rate=0.9,
        corrupt_again=1,
    )
    assert sweep.structure(run) == sweep.structure(other)


@pytest.mark.parametrize(
    "other",
    [
        ExpansionConfig(IQL.replace(hidden_dims=(16, 17))),
        ExpansionConfig(IQL.replace(hidden_dims=(16,))),
        ExpansionConfig(IQL.replace(num_critics=3)),
        ExpansionConfig(IQL, ipw_form="printed"),
        ExpansionConfig(IQL, offline_action="sample"),
        ExpansionConfig(RIQLConfig(hidden_dims=HIDDEN, num_critics=2)),
        IQL,
    ],
)
def test_structure_sees_what_changes_the_program(other):
    """Widths, depth, ensemble size, switches and agents must agree in a group."""
    run = make_run(0, ExpansionConfig(IQL))
    assert sweep.structure(run) != sweep.structure(make_run(0, other))


def test_take_undoes_stack():
    """A run comes out of a stack as it went in, whatever its place."""
    runs = [
        make_run(seed, IQL.replace(beta=seed / 3), rate=seed / 4) for seed in range(4)
    ]
    stacked = sweep.stack(runs)
    assert stacked.seed.shape == (4,) and stacked.agent.beta.shape == (4,)
    for place, run in enumerate(runs):
        found = sweep.take(stacked, place)
        assert sweep.structure(found) == sweep.structure(run)
        chex.assert_trees_all_equal(found, jax.tree.map(np.asarray, stacked_one(run)))


def stacked_one(run):
    return jax.tree.map(lambda x: x[0], sweep.stack([run]))


@functools.cache
def phases(method="rpex"):
    """Pretraining by chunks of 5 updates; 8 steps of warm-up, then chunks of 5."""
    offline = sweep.offline_phase(
        AGENTS["iql"], ENV, batch_size=BATCH, num_updates=5, num_episodes=2
    )
    online = sweep.online_phase(
        AGENTS["iql"],
        METHODS[method],
        ENV,
        batch_size=BATCH,
        num_offline=8,
        capacity=16,
        warmup=8,
        num_steps=5,
        updates_per_step=2,
        num_episodes=2,
    )
    return offline, online


def trajectory(runs, method="rpex"):
    """All that a batch of runs yields: states, metrics and returns of both phases."""
    offline, online = phases(method)
    pretraining = sweep.stack([run.replace(agent=run.agent.base) for run in runs])
    runs = sweep.stack(runs)
    state = offline.start(pretraining, DATA)
    state, metrics = offline.chunk(state, pretraining, DATA)
    found = [jax.tree.map(jnp.copy, (state, metrics))]
    found.append(offline.evaluate(state, pretraining))
    statistics = state.statistics
    state = online.start(state, runs, DATA)
    for _ in range(2):
        state, metrics = online.chunk(state, statistics, runs, DATA)
    return [*found, state, metrics, online.evaluate(state, statistics, runs)]


RUNS = [
    make_run(3, ExpansionConfig(IQL, kappa=0.1)),
    make_run(4, ExpansionConfig(IQL, kappa=0.0), online_elements=("action",)),
    make_run(5, ExpansionConfig(IQL.replace(beta=1.0), kappa=0.3), rate=0.0),
]


def test_a_run_is_the_same_alone_and_anywhere_in_a_batch():
    """From pretraining to the last evaluation, through expansion and a full buffer.

    Neither the size of the batch, nor the other runs, nor the place among them count.
    """
    together = trajectory(RUNS)
    turned = trajectory(RUNS[2:] + RUNS[:2])
    alone = trajectory(RUNS[:1])
    for place in range(3):
        chex.assert_trees_all_close(
            sweep.take(together, place),
            sweep.take(turned, (place + 1) % 3),
            **REASSOCIATED,
        )
    chex.assert_trees_all_close(
        sweep.take(together, 0), sweep.take(alone, 0), **REASSOCIATED
    )
    buffer = together[2].buffer
    assert (buffer.size == 16).all()  # 8 + 2 x 5 steps went round the ring
    one, other = (np.asarray(buffer.data.actions[i]) for i in (0, 1))
    assert (one != other).mean() > 0.5  # or all of this would be said of one run


def test_pex_and_rpex_share_a_program():
    """kappa is a number: other runs, other kappas, and nothing is compiled anew."""
    offline, online = phases()
    trajectory(RUNS)
    before = [f._cache_size() for p in (offline, online) for f in p]
    trajectory([run.replace(seed=run.seed + 10) for run in reversed(RUNS)])
    assert [f._cache_size() for p in (offline, online) for f in p] == before
    pex, rpex = METHODS["pex"], METHODS["rpex"]
    assert pex == rpex._replace(corrects=False) and rpex.corrects


def test_four_elements_and_their_seeds_are_traced_once():
    """Twelve runs, one program a phase; other seeds and rates trace nothing more."""
    traces = collections.Counter()

    def update(key, state, batch, config):
        traces["update"] += 1
        means = jax.tree.map(jnp.mean, batch._replace(terminations=0.0))
        return state + 1, {"seen": sum(means)}

    agent = glass_agent()._replace(update=update, restart=lambda state: state)
    numbers = dict(batch_size=BATCH, num_episodes=2)
    offline = sweep.offline_phase(agent, ENV, num_updates=5, **numbers)
    online = sweep.online_phase(
        agent,
        METHODS["direct"],
        ENV,
        num_offline=8,
        capacity=16,
        warmup=8,
        num_steps=5,
        updates_per_step=1,
        **numbers,
    )

    def train(rate, seeds):
        runs = sweep.stack(
            [
                make_run(seed, 0.0, (element,), (element,), rate)
                for element in ELEMENTS
                for seed in seeds
            ]
        )
        state = offline.start(runs, DATA)
        for _ in range(2):
            state, _ = offline.chunk(state, runs, DATA)
        after = online.start(state, runs, DATA)
        for _ in range(2):
            after, metrics = online.chunk(after, state.statistics, runs, DATA)
        return metrics["seen"]

    train(0.5, (0, 1, 2))
    before, programs = traces["update"], [offline.chunk, online.chunk, online.start]
    seen = np.asarray(train(0.25, (7, 8, 9)))
    assert traces["update"] == before
    assert [program._cache_size() for program in programs] == [1, 1, 1]
    assert len(set(seen.tolist())) == 12


def test_rpex_without_its_correction_is_pex():
    """The two methods differ in kappa and in nothing else."""
    runs = [run.replace(agent=run.agent.replace(kappa=0.0)) for run in RUNS]
    rpex, pex = trajectory(runs), trajectory(runs, method="pex")
    chex.assert_trees_all_equal(rpex, pex)
    with_kappa = trajectory(RUNS)  # and the correction does change a run
    actor = [jax.tree.leaves(t[2].agent.base.actor)[-1] for t in (rpex, with_kappa)]
    assert (actor[0][0] != actor[1][0]).any()
