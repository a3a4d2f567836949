"""The online chunk: what acts, what is stored, what is learned from, in what order."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.agents.edac import EDACConfig
from rpex_jax.agents.iql import IQLConfig
from rpex_jax.agents.td3 import TD3Config
from rpex_jax.attacks.adversarial_corruption import Attacker, action_value
from rpex_jax.attacks.corruption import ELEMENTS, corrupt, corruption, row_keys
from rpex_jax.data.buffer import make_buffer
from rpex_jax.data.rewards import RewardUnit
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.expansion import ExpansionConfig, policy_set
from rpex_jax.training import offline, online
from rpex_jax.types import Transition
from tests import diagnostic
from tests.training.problems import (
    BATCH,
    HIDDEN,
    NUM_ROWS,
    REASSOCIATED,
    cut_inside,
    glass_agent,
    make_data,
    make_run,
    with_true_flags,
)

CAPACITY = 300
# One multiply and one add, fused or not.
FUSED = dict(rtol=3e-7, atol=1e-7)
MEAN, STD = 0.5, 2.0  # of the statistics that acting and storing use
STATISTICS = ObservationStatistics(jnp.full(1, MEAN), jnp.full(1, STD))
DATA = make_data(observation_dim=1, action_dim=1)
REAL = with_true_flags(DATA)  # for agents that learn
IQL = IQLConfig(learning_rate=1e-2, hidden_dims=HIDDEN)
TD3 = TD3Config(learning_rate=1e-2, hidden_dims=HIDDEN)
CLEAN = dict(offline_elements=(), online_elements=())


@functools.cache  # compile once for all tests
def program(agent, env, num_steps, updates_per_step, num_offline):
    buffer = make_buffer(CAPACITY, BATCH - num_offline)
    chunk = online.make_chunk(
        agent,
        env,
        buffer,
        num_steps=num_steps,
        updates_per_step=updates_per_step,
        num_offline=num_offline,
    )

    def start(run):
        agent_state = agent.init(jax.random.key(5), env.spec, run.agent)
        return online.start(agent_state, env, buffer, run)

    return jax.jit(start), jax.jit(chunk)


def train(agent, env, run, chunks, updates=1, num_offline=4, data=DATA):
    """The state after chunks of the given numbers of steps."""
    run, state, metrics = jax.tree.map(jnp.asarray, run), None, None
    for num_steps in chunks:
        start, chunk = program(agent, env, num_steps, updates, num_offline)
        state = start(run) if state is None else state
        state, metrics = chunk(state, STATISTICS, run, data)
    return state, metrics


def stored(state):
    """The filled rows of the buffer, in the order they were stored."""
    rows = jax.tree.map(lambda x: np.asarray(x[: state.buffer.size]), state.buffer.data)
    assert state.buffer.size == state.buffer.position < CAPACITY
    return rows


BIG_STEP = glass_agent(lambda observations, greedy: 10.0 * observations + 3.0)
EYE, PATIENT = glass_agent(), glass_agent(batches=2)
DELAYED, DRAWN = diagnostic.delayed_reward(), diagnostic.observation_reward()
ENDLESS, PAID = diagnostic.constant_reward(False), diagnostic.target_reward()


def test_buffer_holds_the_steps_in_order():
    """Two episodes of delayed_reward, observed before and after each step.

    The next observation is the true one (2) where the episode ended, not the reset's
    (0), and a task's end is a termination.
    """
    state, metrics = train(EYE, DELAYED, make_run(**CLEAN), (4,))
    rows = stored(state)
    np.testing.assert_array_equal(rows.observations[:, 0], [0, 1, 0, 1])
    np.testing.assert_array_equal(rows.next_observations[:, 0], [1, 2, 1, 2])
    np.testing.assert_array_equal(rows.rewards, [0, 1, 0, 1])
    np.testing.assert_array_equal(rows.terminations, [0, 1, 0, 1])
    assert int(metrics["episode/count"]) == 2 and int(state.step) == 4
    assert float(metrics["episode/return"]) == 1.0
    assert int(metrics["episode/failed"]) == 0


@pytest.mark.parametrize(
    "env", [DELAYED._replace(time_limit=1), cut_inside(DELAYED, 1)]
)
def test_a_time_limit_is_no_termination(env):
    """Cut after one of its two steps, from outside or inside, the episode restarts but
    has not terminated."""
    state, metrics = train(EYE, env, make_run(**CLEAN), (4,), updates=0)
    rows = stored(state)
    np.testing.assert_array_equal(rows.observations[:, 0], [0, 0, 0, 0])
    np.testing.assert_array_equal(rows.next_observations[:, 0], [1, 1, 1, 1])
    np.testing.assert_array_equal(rows.terminations, [0, 0, 0, 0])
    assert int(metrics["episode/count"]) == 4


def test_an_environment_that_resets_itself_is_asked_to():
    """Its `reset_where` starts every episode but the first; here with observation 9."""

    def reset_where(key, state, ended):
        again = state._replace(observation=jnp.full(1, 9.0), time=jnp.int32(0))
        return jax.tree.map(lambda a, b: jnp.where(ended, a, b), again, state)

    env = DELAYED._replace(reset_where=reset_where)
    rows = stored(train(EYE, env, make_run(**CLEAN), (4,), updates=0)[0])
    np.testing.assert_array_equal(rows.observations[:, 0], [0, 1, 9, 1])
    np.testing.assert_array_equal(rows.next_observations[:, 0], [1, 2, 1, 2])


def test_acting_sees_the_standardised_observation():
    """The agent acts on (o - mean) / std; its action is stored as meant, unclipped.

    The environment pays for the clipped action, as it does in evaluation.
    """
    state, _ = train(BIG_STEP, PAID, make_run(**CLEAN), (50,))
    rows = stored(state)
    meant = 10.0 * (rows.observations - MEAN) / STD + 3.0
    np.testing.assert_allclose(rows.actions, meant, rtol=1e-5, atol=1e-5)
    assert (abs(rows.actions) > 1.5).any()
    paid = -((np.clip(meant, -1, 1) - rows.observations)[:, 0] ** 2)
    np.testing.assert_allclose(rows.rewards, paid, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("element", ELEMENTS)
def test_corruption_touches_only_its_element_of_what_is_stored(element):
    """The environment and the agent go on as if nothing had happened.

    The same run with and without damage: all but the damaged field is bit-equal, so
    acting saw the clean observation.
    """
    field = Transition._fields[ELEMENTS.index(element)]
    dirty = make_run(offline_elements=(), online_elements=(element,), rate=1.0)
    with_damage, _ = train(BIG_STEP, PAID, dirty, (50,))
    without, _ = train(BIG_STEP, PAID, make_run(**CLEAN), (50,))
    chex.assert_trees_all_equal(with_damage.env, without.env)
    for name, ours, clean in zip(
        stored(without)._fields, stored(with_damage), stored(without), strict=True
    ):
        if name == field:
            assert (ours != clean).all()
        else:
            np.testing.assert_array_equal(ours, clean, err_msg=name)


def test_online_noise_has_the_right_unit():
    """Observations: one deviation of the statistics. Actions: of the data. Reward: 30.

    Source: RPEX attack.py, online random mode, in raw units. Of 250 uniform draws one
    is beyond 0.9 of the range but for a chance of 1e-11.
    """
    run = make_run(offline_elements=(), rate=1.0)
    rows = stored(train(EYE, PAID, run, (250,))[0])
    clean = stored(train(EYE, PAID, make_run(**CLEAN), (250,))[0])
    units = {
        "observations": STD,
        "actions": float(DATA.deviations.actions[0]),
        "next_observations": STD,
    }
    assert not np.isclose(units["actions"], STD)  # or the test could not tell
    for name, unit in units.items():
        shift = abs(getattr(rows, name) - getattr(clean, name))
        assert 0.9 * unit < shift.max() <= unit * (1 + 1e-5), name
    assert 27.0 < abs(rows.rewards).max() <= 30.0
    # replaced, not shifted: what the environment paid is gone
    assert abs(np.corrcoef(rows.rewards, clean.rewards)[0, 1]) < 0.3
    shifts = [rows.observations - clean.observations, rows.actions - clean.actions]
    assert abs(np.corrcoef(*(x[:, 0] for x in shifts))[0, 1]) < 0.3


def test_noise_on_raw_observations_has_the_data_s_unit():
    """Where nothing is standardised, a deviation is one of the data set."""
    run = make_run(offline_elements=(), rate=1.0).replace(standardise=0)
    rows = stored(train(EYE, PAID, run, (250,))[0])
    clean = stored(train(EYE, PAID, make_run(**CLEAN), (250,))[0])
    for name in ("observations", "next_observations"):
        unit = float(getattr(DATA.deviations, name)[0])
        assert not np.isclose(unit, STD, rtol=0.02)  # or the test could not tell
        shift = abs(getattr(rows, name) - getattr(clean, name))
        assert 0.9 * unit < shift.max() <= unit * (1 + 1e-5), name


def test_rate_is_the_share_of_steps_that_are_hit():
    """Rate 0.3 over 250 steps: 75 hits, standard deviation 7."""
    run = make_run(offline_elements=(), rate=0.3)
    rows = stored(train(EYE, PAID, run, (250,))[0])
    clean = stored(train(EYE, PAID, make_run(**CLEAN), (250,))[0])
    hits = [
        (a != b).reshape(250, -1).any(1)
        for a, b in zip(rows[:4], clean[:4], strict=True)
    ]
    for hit in hits:
        assert 75 - 4 * 7.2 < hit.sum() < 75 + 4 * 7.2
    for one in range(4):  # each element has a draw of its own
        for other in range(one):
            assert (hits[one] != hits[other]).sum() > 50


def test_batch_has_the_offline_rows_first():
    """`num_offline` damaged rows of the data, then rows of the buffer, standardised."""
    run = make_run(online_elements=())
    state, metrics = train(EYE, DRAWN, run, (1,), num_offline=4)
    batch = jax.tree.map(np.asarray, metrics["batch"])
    numbers = batch.terminations[:4].astype(int)  # the data's row numbers
    rows = corrupt(
        row_keys(offline.data_key(run), jnp.arange(NUM_ROWS)),
        DATA.transitions,
        run.offline_corruption,
        DATA.deviations,
    )
    expected = jax.tree.map(lambda x: np.asarray(x)[numbers - 1], rows)
    np.testing.assert_array_equal(batch.rewards[:4], expected.rewards)
    np.testing.assert_allclose(batch.actions[:4], expected.actions, **FUSED)
    seen = (expected.observations - MEAN) / STD
    np.testing.assert_allclose(batch.observations[:4], seen, rtol=1e-5, atol=1e-6)
    only = stored(state)  # a single step so far, drawn again and again
    np.testing.assert_array_equal(batch.rewards[4:], np.repeat(only.rewards, 12))
    np.testing.assert_allclose(
        batch.observations[4:, 0],
        np.repeat((only.observations[:, 0] - MEAN) / STD, 12),
        rtol=1e-5,
    )


def test_online_batches_see_pretrainings_damage():
    """corrupt_again=0: the rows are those that pretraining saw, to the last bit."""
    seen = []
    for again in (0, 1):
        run = make_run(online_elements=(), corrupt_again=again)
        batch = train(EYE, DRAWN, run, (1,), num_offline=12)[1]["batch"]
        seen.append(jax.tree.map(lambda x: np.asarray(x[:12]), batch))
    numbers = seen[0].terminations.astype(int) - 1
    np.testing.assert_array_equal(seen[0].terminations, seen[1].terminations)
    drawn = jax.tree.map(lambda x: x[numbers], DATA.transitions)
    run = jax.tree.map(jnp.asarray, make_run())

    @jax.jit
    def in_pretraining(numbers):
        keys = row_keys(offline.data_key(run), numbers)
        return corrupt(keys, drawn, run.offline_corruption, DATA.deviations)

    pretraining = in_pretraining(numbers)
    np.testing.assert_array_equal(seen[0].rewards, pretraining.rewards)
    np.testing.assert_allclose(seen[0].actions, pretraining.actions, **FUSED)
    for ours, other in zip(seen[0][:4], seen[1][:4], strict=True):
        assert (ours != other).mean() > 0.3


def test_runs_of_one_pretraining_see_its_damage():
    """A run of another seed draws other rows, with the damage of the pretraining's."""
    seen = {}
    for seed in (0, 5):
        run = make_run(seed, online_elements=()).replace(pretraining_seed=0)
        seen[seed] = train(EYE, DRAWN, run, (1,), num_offline=12)[1]["batch"]
    numbers = [np.asarray(batch.terminations[:12]) for batch in seen.values()]
    assert (numbers[0] != numbers[1]).any()
    keys = row_keys(offline.data_key(make_run(0)), jnp.arange(NUM_ROWS))
    rows = corrupt(
        keys, DATA.transitions, make_run().offline_corruption, DATA.deviations
    )
    for batch, drawn in zip(seen.values(), numbers, strict=True):
        expected = np.asarray(rows.actions)[drawn.astype(int) - 1]
        np.testing.assert_allclose(batch.actions[:12], expected, **FUSED)


def test_no_offline_rows_without_offline_data():
    """With `num_offline=0` the data set is not looked at; it need not exist."""
    nothing = offline.from_scratch(DRAWN.spec)[1]
    state, metrics = train(EYE, DRAWN, make_run(), (2,), num_offline=0, data=nothing)
    assert metrics["batch"].rewards.shape == (BATCH,)
    assert int(state.buffer.size) == 2


def test_updates_per_step_are_counted_by_the_optimiser():
    """UTD counts gradient steps per environment step."""
    state, metrics = train(AGENTS["iql"], PAID, make_run(agent=IQL), (3,), 4, data=REAL)
    for name in ("value_optimizer", "critic_optimizer", "actor_optimizer"):
        assert int(getattr(state.agent, name).count) == 3 * 4
    assert np.isfinite(metrics["critic/loss"])


def test_updates_of_a_step_draw_new_batches():
    """Four updates on one and the same batch would be one batch with a larger rate."""
    _, metrics = train(EYE, DRAWN, make_run(**CLEAN), (1,), updates=2, num_offline=12)
    mean_of_two = np.asarray(metrics["batch"].terminations[:12])
    _, metrics = train(EYE, DRAWN, make_run(**CLEAN), (1,), updates=1, num_offline=12)
    assert (mean_of_two % 1 == 0.5).any()  # means of two different row numbers


@pytest.mark.parametrize(
    ("updates_per_step", "num_steps", "updates"),
    # an update has two batches and counts as two: one in 2 steps, 1 a step, 3 in 2
    [(0, 3, 0), (1, 2, 1), (2, 3, 3), (3, 4, 6)],
)
def test_a_delayed_policy_updates_once_in_two_batches(
    updates_per_step, num_steps, updates
):
    """An update for every two batches that are owed, after the steps that owe them."""
    state, metrics = train(
        PATIENT, DELAYED, make_run(**CLEAN), (num_steps,), updates_per_step
    )
    assert int(state.agent) == updates
    assert int(state.step) == int(state.buffer.size) == num_steps
    assert ("batch" in metrics) == (updates > 0)


def test_a_delayed_policy_sees_two_batches_of_all_its_steps():
    """Both batches of the first update are different rows, of either step."""
    batch = train(PATIENT, DELAYED, make_run(**CLEAN), (2,))[1]["batch"]
    assert batch.observations.shape == (2, BATCH, 1)
    numbers = np.asarray(batch.terminations[:, :4])
    assert (numbers[0] != numbers[1]).all()
    for rewards in np.asarray(batch.rewards[:, 4:]):  # 0 at the first step, then 1
        assert set(rewards) == {0.0, 1.0}
    assert (batch.rewards[0] != batch.rewards[1]).any()


def test_a_chunk_that_ends_inside_a_round_is_refused():
    """One sentence, before anything is compiled."""
    start, _ = program(PATIENT, DELAYED, 2, 1, 4)
    run = jax.tree.map(jnp.asarray, make_run())
    chunk = online.make_chunk(
        PATIENT,
        DELAYED,
        make_buffer(CAPACITY, BATCH),
        num_steps=3,
        updates_per_step=1,
        num_offline=0,
    )
    with pytest.raises(ValueError, match=r"num_steps is 3; .* a multiple of 2"):
        jax.eval_shape(chunk, start(run), STATISTICS, run, DATA)


def test_warm_up_collects_and_learns_nothing():
    """`updates_per_step=0`: the agent stays as it was; its metrics are absent."""
    run = make_run(agent=IQL)
    start, _ = program(AGENTS["iql"], ENDLESS, 20, 0, 4)
    before = start(jax.tree.map(jnp.asarray, run))
    state, metrics = train(AGENTS["iql"], ENDLESS, run, (20,), updates=0)
    chex.assert_trees_all_equal(before.agent, state.agent)
    assert int(state.buffer.size) == int(state.step) == 20
    assert all(name.startswith("episode/") for name in metrics)


@pytest.mark.parametrize(
    ("name", "config", "chunks"),
    [
        ("iql", IQL, (5, 5)),
        ("iql", IQL, (1,) * 10),
        ("td3", TD3, (2,) * 5),  # whole rounds
    ],
)
def test_chunks_of_any_length_give_the_same_state(name, config, chunks):
    """Saving more often, or resuming between chunks, changes no result."""
    agent, run = AGENTS[name], make_run(agent=config)
    whole, _ = train(agent, PAID, run, (10,), data=REAL)
    parts, _ = train(agent, PAID, run, chunks, data=REAL)
    assert int(whole.step) == int(parts.step) == 10
    assert int(whole.agent.critic_optimizer.count) == 10  # UTD counts critic updates
    chex.assert_trees_all_close(whole, parts, **REASSOCIATED)


def test_seeds_differ_in_resets_actions_and_damage():
    """Two seeds meet other episodes, act otherwise and are damaged otherwise."""
    run = [make_run(seed, agent=IQL) for seed in (0, 1)]
    first, second = (
        stored(train(AGENTS["iql"], PAID, r, (10,), data=REAL)[0]) for r in run
    )
    for one, other in zip(first[:4], second[:4], strict=True):
        assert (one != other).all()


def test_actions_are_drawn_anew_each_step():
    """Online the agent acts with `greedy=False`, and with a new key a step."""
    agent = glass_agent(
        lambda observations, greedy: observations * (0 if greedy else 1)
    )
    rows = stored(train(agent, PAID, make_run(**CLEAN), (20,))[0])
    assert (rows.actions != 0).all()
    run = make_run(agent=IQL, **CLEAN)
    iql = stored(train(AGENTS["iql"], ENDLESS, run, (20,), updates=0)[0])
    assert len(np.unique(iql.actions)) == 20  # the observation is the same throughout


def test_no_key_is_used_twice():
    """JAX's checker follows every key through acting, resets, damage and updates."""
    config = ExpansionConfig(IQL, offline_action="sample")
    agent, run = policy_set(AGENTS["iql"]), make_run(agent=config)
    with jax.debug_key_reuse(True):
        state, _ = train(agent, PAID, run, (3,), data=REAL)
    assert int(state.step) == 3


def test_numbers_do_not_retrace():
    """A program serves every run of its structure: seed, kappa and rates are data."""
    chex.clear_trace_counter()
    agent = policy_set(AGENTS["iql"])
    buffer = make_buffer(CAPACITY, 12)
    chunk = online.make_chunk(
        agent, PAID, buffer, num_steps=2, updates_per_step=1, num_offline=4
    )
    chunk = chex.assert_max_traces(chunk, n=1)
    chunk = jax.jit(jax.vmap(chunk, in_axes=(0, None, 0, None)))
    start, _ = program(agent, PAID, 3, 1, 4)
    for seed, kappa, rate in ((0, 0.0, 0.0), (1, 0.1, 0.5), (2, 0.3, 1.0)):
        base = IQLConfig(expectile=0.5 + rate / 4, hidden_dims=HIDDEN)
        config = ExpansionConfig(base, kappa=kappa, inv_temperature=3.0 + seed)
        runs = [
            make_run(seed + i, config, rate=rate, corrupt_again=seed) for i in (0, 1)
        ]
        states = [start(jax.tree.map(jnp.asarray, run)) for run in runs]
        chunk.trace(sweep.stack(states), STATISTICS, sweep.stack(runs), REAL)


def test_adversarial_damage_is_found_in_every_step():
    """What is stored lies within the bound, and lower in value than what was seen."""
    config = EDACConfig(hidden_dims=HIDDEN, num_critics=3)
    critics = AGENTS["edac"].init(jax.random.key(3), PAID.spec, config)
    attacker = Attacker(critics, STATISTICS, config)
    told = corruption(("observation", "dynamics"), 1.0, 0.5, adversarial=True)
    run = make_run(**CLEAN).replace(online_corruption=told)
    data = DATA._replace(attacker=attacker)
    rows = stored(train(EYE, PAID, run, (60,), data=data)[0])
    clean = stored(train(EYE, PAID, make_run(**CLEAN), (60,))[0])
    for name in ("observations", "next_observations"):
        shift = getattr(rows, name) - getattr(clean, name)
        assert 0.8 * 0.5 * STD < abs(shift).max() <= 0.5 * STD * (1 + 1e-5)
    np.testing.assert_array_equal(rows.actions, clean.actions)

    def value(observations):
        return action_value(attacker, observations, clean.actions).mean()

    # Two steps of a tenth of the bound from where uniform noise would have put them.
    at_random = run.replace(online_corruption=told.replace(adversarial=jnp.zeros(4)))
    noisy = stored(train(EYE, PAID, at_random, (60,), data=data)[0])
    assert value(rows.observations) < value(noisy.observations)


def test_rewards_are_stored_in_their_unit_and_logged_raw():
    """Scale and shift come before corruption, and not into the episode's return."""
    unit = RewardUnit(scale=3.0, shift=-1.0)
    data = DATA._replace(reward_unit=unit)
    plain, told = train(EYE, DELAYED, make_run(**CLEAN), (4,))
    scaled, also_told = train(EYE, DELAYED, make_run(**CLEAN), (4,), data=data)
    np.testing.assert_array_equal(stored(plain).rewards, [0, 1, 0, 1])
    np.testing.assert_array_equal(stored(scaled).rewards, [-1, 2, -1, 2])
    assert told["episode/return"] == also_told["episode/return"] == 1


@pytest.mark.parametrize("num_runs", [1, 2])
def test_no_step_copies_the_replay(num_runs):
    """A chunk's time must not grow with the capacity: 27 ms a step at a million."""
    capacity, agent = 4321, AGENTS["iql"]
    buffer = make_buffer(capacity, BATCH)
    runs = sweep.stack([make_run(seed, IQL, **CLEAN) for seed in range(num_runs)])

    def start(run):
        state = agent.init(jax.random.key(5), PAID.spec, run.agent)
        return online.start(state, PAID, buffer, run)

    chunk = jax.vmap(
        online.make_chunk(
            agent, PAID, buffer, num_steps=8, updates_per_step=1, num_offline=0
        ),
        (0, None, 0, None),
    )
    states = jax.eval_shape(jax.vmap(start), runs)
    program = jax.jit(chunk, donate_argnums=0).lower(states, STATISTICS, runs, DATA)
    copies = re.findall(
        rf"= \w+\[\d+,{capacity}[^ ]* copy\(", program.compile().as_text()
    )
    assert not copies
