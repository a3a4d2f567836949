"""JSRL and Behavior Transfer: who acts when. With Off2On: resumed, and in batches."""

import collections
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rpex_jax import checkpoints, sweep
from rpex_jax import jsrl as jump_start
from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.behavior_transfer import (
    LONGEST,
    BTConfig,
    BTState,
    behavior_transfer,
    draw_length,
)
from rpex_jax.data.balanced_replay import BalanceConfig
from rpex_jax.data.buffer import make_buffer
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.jsrl import JSRLConfig, JSRLState, advance, draw_horizon, jsrl
from rpex_jax.methods import METHODS
from rpex_jax.training import online
from rpex_jax.types import Agent
from tests import diagnostic
from tests.training.problems import (
    NUM_ROWS,
    glass_agent,
    make_data,
    make_run,
    with_true_flags,
)
from tests.training.test_online import stored, train

GUIDE, LEARNER = 7.0, 3.0


class Constant(NamedTuple):
    """The state of an agent that always does the same."""

    actor: jax.Array


def always(value_of=lambda actions: actions[..., 0]) -> Agent:
    """An agent that does what its state says, and values actions by `value_of`."""

    def act(key, state, observations, config, *, greedy):
        return jnp.broadcast_to(state.actor, (*observations.shape[:-1], 1))

    return Agent(
        init=lambda key, spec, config: Constant(jnp.full(1, LEARNER)),
        update=lambda key, state, batch, config: (state, {}),
        act=act,
        policy=None,
        action_value=lambda state, observations, actions, config: value_of(actions),
        state_value=None,
        restart=lambda state: state,
    )


def guided(agent: Agent) -> Agent:
    """The agent, whose pretrained policy does something else than its learner."""

    def init(key, spec, config):
        state = agent.init(key, spec, config)
        return state._replace(pretrained=jnp.full(1, GUIDE))

    return agent._replace(init=init)


EPISODE = 5
WORLD = diagnostic.constant_reward(False)._replace(time_limit=EPISODE)
NUM_STEPS = 8 * EPISODE
JSRL, BT = (
    guided(jsrl(always())),
    guided(behavior_transfer(always(lambda a: -a[..., 0]))),
)


def actions(agent, config, seed=0):
    """What was done in eight episodes of five steps, [episode, step]."""
    run = make_run(seed, config, offline_elements=(), online_elements=())
    state, _ = train(agent, WORLD, run, (NUM_STEPS,), updates=0)
    return stored(state).actions.reshape(-1, EPISODE), state.agent


def test_the_guide_has_the_first_steps_of_an_episode():
    """Exactly h of them, in every episode; no horizon, no guide."""
    for horizon in (0, 2, EPISODE, 100):
        done, _ = actions(JSRL, JSRLConfig(None, float(horizon)))
        expected = np.where(np.arange(EPISODE) < horizon, GUIDE, LEARNER)
        np.testing.assert_array_equal(done, np.tile(expected, (8, 1)))


def test_a_linear_horizon_shrinks_from_episode_to_episode():
    """Of 4 steps over 20 environment steps: 4, 3, 2, 1 and then none."""
    done, _ = actions(JSRL, JSRLConfig(None, 4.0, 20.0))
    np.testing.assert_array_equal((done == GUIDE).sum(1), [4, 3, 2, 1, 0, 0, 0, 0])
    assert (np.diff(done, axis=1) <= 0).all()  # the guide first, then the learner


def test_a_random_horizon_is_uniform():
    """Below the greatest, and drawn once an episode."""
    config = JSRLConfig(None, 4.0, randomness=1.0)
    keys = jax.random.split(jax.random.key(0), 4000)
    of_keys = jax.vmap(draw_horizon, (0, None, None, None))
    drawn = of_keys(keys, 10**6, jump_start.start(config), config)
    counts = np.bincount(drawn, minlength=5)
    assert counts[4:].sum() == 0
    assert stats.chisquare(counts[:4]).pvalue > 1e-3
    done, _ = actions(JSRL, config)
    assert (np.diff(done, axis=1) <= 0).all()
    assert len(set((done == GUIDE).sum(1))) > 1


def horizons(returns, lengths, horizon, num_stages, tolerance, window):
    """h of each episode by the paper's appendix, written out in Python."""
    needed = min(horizon, sum(lengths[:window]) / window)
    stages = [needed - needed / num_stages * (i + 1) for i in range(num_stages)]
    stages = [horizon, *stages]
    newest, best, told = collections.deque(maxlen=window), None, []
    for episode_return in returns:
        told.append(np.floor(stages[0] + 1e-6))
        newest.append(float(episode_return))
        if len(newest) < window:
            continue
        mean = sum(newest) / window
        is_close = best is None or mean >= best - tolerance * abs(best)
        best = mean if best is None else max(best, mean)
        if is_close and len(stages) > 1:
            stages.pop(0)
            newest.clear()
    return told


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_curriculum_is_the_papers(window, sign):
    """Returns that get better and worse, of either sign; several numbers at once."""
    rng = np.random.default_rng(int(window + sign))
    returns = sign * 100.0 + np.cumsum(rng.normal(0, 6.0, (6, 80)), axis=1)
    lengths = 40 * rng.integers(1, 20, returns.shape)
    numbers = [(700.0, 10, 0.05), (1000.0, 8, 0.0), (30.0, 4, 0.02), (5.0, 1, 0.1)]
    numbers += [(700.0, 10, 0.0), (1000.0, 1000, 0.3)]
    configs = [
        JSRLConfig(None, h, num_stages=n, tolerance=tolerance, window=window)
        for h, n, tolerance in numbers
    ]

    def episode(progress, ended, config):
        key, steps = jax.random.key(0), 10**6
        told = draw_horizon(key, steps, progress, config)
        return advance(progress, *ended, config), told

    @jax.jit
    @jax.vmap
    def run(ended, config):
        one = functools.partial(episode, config=config)
        return jax.lax.scan(one, jump_start.start(config), ended)[1]

    returns = returns.astype(np.float32)
    told = np.asarray(run((returns, lengths), sweep.stack(configs)))
    for found, one, other, of_run in zip(told, returns, lengths, numbers, strict=True):
        expected = horizons(one, other, *of_run, window)
        np.testing.assert_array_equal(found, expected)
    reached = {len(set(found)) for found in told}
    assert len(reached) > 2  # some were held up, some were not


def late_learner() -> Agent:
    """It counts its updates; after as many as its config says it does as the guide."""

    def act(key, state, observation, config, *, greedy):
        return jnp.where(state.actor >= config, GUIDE, state.actor)

    return always()._replace(
        init=lambda key, spec, config: Constant(jnp.zeros(1)),
        update=lambda key, state, batch, config: (Constant(state.actor + 1), {}),
        act=act,
    )


def paid_by_the_guide(state, action):
    """A step that is worth 1 if it is the guide's, or of a learner that is as good."""
    return WORLD.step(state, action)._replace(reward=jnp.float32(action[0] == GUIDE))


LATE, PAID = guided(jsrl(late_learner())), WORLD._replace(step=paid_by_the_guide)


@pytest.mark.parametrize(
    ("tolerance", "num_updates", "expected"),
    [
        (0.0, 0, [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0]),  # as good from the first step
        (0.0, 99, [5, 5, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]),  # 4 steps pay less than 5
        (0.25, 99, [5, 5, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3]),  # a quarter less, and no more
        (0.0, 31, [5, 5, 4, 4, 4, 4, 4, 4, 3, 3, 2, 2]),  # as good in the seventh
    ],
)
def test_the_guide_leaves_when_the_learner_is_as_good(tolerance, num_updates, expected):
    """In training, by the returns of its episodes: two in a row, each of five steps.

    It might act for 100, until it is seen that it needs 5.
    """
    numbers = dict(horizon=100.0, num_stages=5.0, tolerance=tolerance, window=2)
    config = JSRLConfig(float(num_updates), **numbers)
    run = make_run(0, config, offline_elements=(), online_elements=())
    steps = len(expected) * EPISODE
    state, metrics = train(LATE, PAID, run, (steps,), data=DATA)
    done = stored(state).actions.reshape(-1, EPISODE)
    # Of guide and learner the first h steps are the guide's, whatever the learner does.
    learner = np.arange(steps).reshape(-1, EPISODE)
    by_guide = np.arange(EPISODE) < np.array(expected)[:, None]
    as_good = by_guide | (learner >= num_updates)
    np.testing.assert_array_equal(done, np.where(as_good, GUIDE, learner))
    told = np.where(np.array(expected) == EPISODE, 100, expected)
    assert metrics["jsrl/horizon"] == pytest.approx(told.mean())


def test_a_uniform_warm_up_says_nothing_about_guide_and_learner():
    """Two episodes in which they did not act move no stage."""
    config = JSRLConfig(None, 5.0, num_stages=5.0, window=1)
    run = make_run(0, config, offline_elements=(), online_elements=())
    base = always()._replace(
        init=lambda key, spec, config: Constant(jnp.full(1, GUIDE))
    )
    phase = sweep.online_phase(
        base,
        METHODS["jsrl"],
        PAID,
        batch_size=8,
        num_offline=4,
        capacity=16,
        warmup=2 * EPISODE,
        num_steps=1,
        updates_per_step=1,
        num_episodes=1,
        warmup_actions="uniform",
    )
    flat = ObservationStatistics(jnp.zeros(1), jnp.ones(1))
    pretrained = Pretrained(Constant(jnp.full(1, GUIDE)), flat)
    state = phase.start(sweep.stack([pretrained]), sweep.stack([run]), DATA)
    assert state.buffer.size == 2 * EPISODE
    assert state.agent.progress.stage == state.agent.progress.episodes == 0


def test_an_evaluated_jsrl_agent_is_the_learner_alone():
    """Though its guide would still act in every step of an episode."""
    config = JSRLConfig(None, 100.0)
    zero = jnp.zeros((), jnp.int32)
    learner = Constant(jnp.full(1, LEARNER))
    progress = jump_start.start(config)
    state = JSRLState(jnp.full(1, GUIDE), learner, zero, zero, progress)
    act = functools.partial(JSRL.act, jax.random.key(0), state, jnp.zeros((4, 1)))
    np.testing.assert_array_equal(act(config, greedy=True), LEARNER)


def test_flights_have_the_lengths_of_a_zeta_distribution():
    """Against SciPy's, of two exponents."""
    keys = jax.random.split(jax.random.key(1), 5000)
    for exponent in (1.5, 2.0):
        lengths = np.asarray(jax.vmap(draw_length, (0, None))(keys, exponent))
        bounds = np.array([1, 2, 3, 4, 6, 10, 30, LONGEST + 1])
        counts = np.histogram(lengths, bounds)[0]
        below = stats.zipfian(exponent, LONGEST).cdf(bounds - 1)
        assert counts.sum() == len(keys)  # none beyond the table
        assert stats.chisquare(counts, len(keys) * np.diff(below)).pvalue > 1e-3


def fly(config, num_steps=400):
    """Of each step of one long episode: the action, and what is left of a flight."""

    def step(state, key):
        action, state = BT.explore(key, state, jnp.zeros(1), config, jnp.int32(1))
        return state, (action[0], state.flight)

    start = BTState(
        jnp.full(1, GUIDE), Constant(jnp.full(1, LEARNER)), jnp.zeros((), jnp.int32)
    )
    keys = jax.random.split(jax.random.key(2), num_steps)
    return jax.tree.map(np.asarray, jax.lax.scan(step, start, keys)[1])


def test_a_flight_lasts_as_long_as_drawn():
    """The pretrained policy has all its steps, and none between flights, where its
    action is the worse one."""
    done, left = fly(BTConfig(None, 0.05, 1.5))
    flying = done == GUIDE
    lengths, step = [], 0
    while step < len(done):
        if flying[step]:
            length = left[step] + 1
            lengths.append(length)
            last = min(step + length, len(done))
            assert flying[step:last].all()
            np.testing.assert_array_equal(
                left[step:last], length - 1 - np.arange(last - step)
            )
            step = last
        else:
            assert done[step] == LEARNER and left[step] == 0
            step += 1
    assert len(lengths) > 8 and max(lengths) > 5


def test_a_flight_ends_with_its_episode():
    """Flights of about a thousand steps; none is left over to the next first step."""
    done, _ = actions(BT, BTConfig(None, 0.3, 0.0))
    first = done[:, 0] == GUIDE
    assert (done[:, -1] == GUIDE).any() and not first.all()
    assert (np.diff(done, axis=1) >= 0).all()  # once begun, to the end of the episode


@pytest.mark.parametrize(("sign", "better"), [(1.0, GUIDE), (-1.0, LEARNER)])
def test_without_flights_the_better_action_is_done(sign, better):
    """By the learner's Q, online and in evaluation."""
    agent = guided(behavior_transfer(always(lambda a: sign * a[..., 0])))
    config = BTConfig(None, 0.0)
    done, state = actions(agent, config)
    np.testing.assert_array_equal(done, better)
    looked_at = jnp.zeros((4, 1))
    action = agent.act(jax.random.key(0), state, looked_at, config, greedy=True)
    np.testing.assert_array_equal(action, np.full((4, 1), better))


# Balanced replay in the loop


def test_balanced_batches_hold_rows_of_both_and_priorities_follow():
    """After 8 steps a half is asked for. Rows are whole and in their places: those of
    the data set carry their number, online ones pay 1 and end nothing."""
    data, share = make_data(observation_dim=1, action_dim=1), 0.5
    balance = BalanceConfig(online_share=share, first_rows=8.0, hidden_dims=(8,))
    run = make_run(offline_elements=(), online_elements=()).replace(balance=balance)
    run = jax.tree.map(jnp.asarray, run)
    agent, buffer = glass_agent(), make_buffer(20, 64)
    state = online.start(jnp.int32(0), WORLD, buffer, run, NUM_ROWS)

    def chunk(num_steps, updates):
        return jax.jit(
            online.make_chunk(
                agent,
                WORLD,
                buffer,
                num_steps=num_steps,
                updates_per_step=updates,
                num_offline=0,
            )
        )

    statistics = ObservationStatistics(jnp.zeros(1), jnp.ones(1))
    state, _ = chunk(7, 0)(state, statistics, run, data)
    state, metrics = chunk(1, 1)(state, statistics, run, data)
    batch = jax.tree.map(np.asarray, metrics["batch"])
    numbers = batch.terminations.astype(int)
    is_new = numbers == 0
    np.testing.assert_allclose(is_new.mean(), share, atol=1 / 64)
    assert metrics["balance/online_share"] == is_new.mean()
    np.testing.assert_array_equal(batch.rewards[is_new], 1.0)
    expected = jax.tree.map(lambda x: x[numbers[~is_new] - 1], data.transitions)
    found = jax.tree.map(lambda x: x[~is_new], batch)
    chex.assert_trees_all_close(found, expected, rtol=1e-6)

    leaves = np.asarray(state.balance.tree)[len(state.balance.tree) // 2 :]
    changed = np.flatnonzero(leaves[:NUM_ROWS] != 1.0)
    assert set(changed) <= set(numbers[~is_new] - 1) and len(changed) > 10
    assert (leaves[NUM_ROWS : NUM_ROWS + 8] > 0.0).all()
    assert (leaves[NUM_ROWS + 8 :] == 0.0).all()


# Whole methods, with networks


ENV = diagnostic.target_reward()
DATA = with_true_flags(make_data(observation_dim=1, action_dim=1))
SMALL = dict(hidden_dims=(8, 8), learning_rate=1e-2)
WRAPPED = {
    "jsrl": functools.partial(JSRLConfig, horizon=4.0, num_stages=2.0, window=2),
    "bt": functools.partial(BTConfig, flight_probability=0.5),
}


def make_runs(name, base):
    """Two runs of a method that differ in their seeds."""
    config, balance = CONFIGS[base](**SMALL), None
    if name == "off2on":
        balance = BalanceConfig(first_rows=8.0, hidden_dims=(8,))
    config = WRAPPED[name](config) if name in WRAPPED else config
    return [make_run(seed, config).replace(balance=balance) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("off2on", "cql_ensemble"),
        pytest.param("jsrl", "iql", marks=pytest.mark.slow),
        pytest.param("bt", "iql", marks=pytest.mark.slow),
    ],
)
def test_runs_are_resumed_bit_for_bit_and_do_not_touch_each_other(name, base, tmp_path):
    """Through the checkpoint, all that acting and sampling remember goes on; and a run
    is the same in another place of the batch."""
    runs = make_runs(name, base)
    phase = sweep.online_phase(
        AGENTS[base],
        METHODS[name],
        ENV,
        batch_size=8,
        num_offline=0 if name == "off2on" else 4,
        capacity=16,
        warmup=8,
        num_steps=6,
        updates_per_step=1,
        num_episodes=2,
    )

    def pretrained_of(run):
        config = getattr(run.agent, "base", run.agent)
        agent = AGENTS[base].init(jax.random.key(run.seed + 10), ENV.spec, config)
        return Pretrained(agent, ObservationStatistics(jnp.zeros(1), jnp.ones(1)))

    def begin(runs):
        pretrained = sweep.stack([pretrained_of(run) for run in runs])
        stacked = sweep.stack(runs)
        start = functools.partial(phase.start, pretrained, stacked, DATA)
        return start, lambda state: phase.chunk(
            state, pretrained.statistics, stacked, DATA
        )

    start, chunk = begin(runs)
    state, _ = chunk(start())
    checkpoints.save(tmp_path, 1, state)
    unbroken, metrics = chunk(state)
    restored = checkpoints.restore(tmp_path, 1, jax.eval_shape(start))
    resumed, again = chunk(restored)
    chex.assert_trees_all_equal((resumed, again), (unbroken, metrics))
    chex.assert_tree_all_finite(unbroken)

    start, chunk = begin(runs[::-1])
    turned, _ = chunk(chunk(start())[0])
    chex.assert_trees_all_close(
        sweep.take(turned, 1), sweep.take(unbroken, 0), rtol=1e-5, atol=1e-6
    )
    one, other = (np.asarray(unbroken.buffer.data.actions[i]) for i in (0, 1))
    assert (one != other).mean() > 0.5


class Pretrained(NamedTuple):
    """What an online method takes of an offline state."""

    agent: object
    statistics: ObservationStatistics
