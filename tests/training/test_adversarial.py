"""Training and evaluation in a perturbed world whose returns are known exactly.

The walker's reward is what was executed; its policy always means MEANT.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.agents.td3 import TD3Config
from rpex_jax.attacks.corruption import corruption
from rpex_jax.attacks.curriculum import CONDITIONS as CURRICULUM_CONDITIONS
from rpex_jax.attacks.curriculum import Curriculum
from rpex_jax.attacks.differential_evolution import DESettings
from rpex_jax.attacks.perturbation import Perturbation, PGDSettings
from rpex_jax.data.buffer import make_buffer
from rpex_jax.data.statistics import ObservationStatistics
from rpex_jax.envs import Env
from rpex_jax.envs.base import EnvState
from rpex_jax.methods import METHODS
from rpex_jax.training import adversarial, offline, online
from rpex_jax.training.attack import best, make_search, mean_returns
from rpex_jax.training.conditions import Attacked, make_evaluate_under
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Spec
from tests.closeness import assert_trees_close
from tests.training.problems import (
    BATCH,
    HIDDEN,
    NUM_ROWS,
    glass_agent,
    make_data,
    make_run,
    with_true_flags,
)

LENGTH = 4
MEANT = jnp.array([0.5, -0.25])
MEMBERS = jnp.array([[0.2, -0.2], [-0.3, 0.1], [0.1, 0.3]])
UNIT = ObservationStatistics(jnp.zeros(2), jnp.ones(2))
SHIFTED = UNIT._replace(mean=jnp.array([0.0, 1.0]))  # the second coordinate is -1
CLEAN = corruption(())
# Of two programs: 60 steps of TD3 at rate 1e-2 turn a last bit into some 3e-6.
LEARNED = 1e-4


def walker() -> Env:
    """Four steps; pays the sum of what is executed, and starts with a small gift."""

    def reset(key):
        no = jnp.zeros((), bool)
        gift = 0.01 * jax.random.normal(key)
        observation = jnp.stack([gift, jnp.zeros(())])
        return EnvState(
            gift, observation, jnp.zeros(()), no, no, jnp.zeros((), jnp.int32), no
        )

    def step(state, action):
        time = state.time + 1
        return state._replace(
            reward=action.sum() + state.physics / LENGTH,
            terminated=time >= LENGTH,
            time=time,
        )

    return Env("walker", Spec(2, 2), reset, step, time_limit=10)


AGENT = glass_agent(
    lambda observations, greedy: jnp.broadcast_to(MEANT, (*observations.shape[:-1], 2))
)


def make_perturbed(q=1.0, members=MEMBERS, seed=0, agent=None, **numbers):
    """A clean run that is hit with a fixed probability."""
    curriculum = Curriculum(initial=q, **numbers)
    run = make_run(seed, agent, offline_elements=(), online_elements=())
    run = run.replace(perturbation=Perturbation(members, curriculum=curriculum))
    return jax.tree.map(jnp.asarray, run)


def train(
    run,
    env,
    agent=AGENT,
    num_steps=10 * LENGTH,
    episodes=0,
    updates=0,
    statistics=UNIT,
):
    data = with_true_flags(make_data(*env.spec))
    buffer = make_buffer(400, BATCH)
    chunk = online.make_chunk(
        agent,
        env,
        buffer,
        num_steps=num_steps,
        updates_per_step=updates,
        num_offline=0,
        curriculum_episodes=episodes,
    )

    @jax.jit
    def both(run):
        state = agent.init(jax.random.key(5), env.spec, run.agent)
        return chunk(online.start(state, env, buffer, run), statistics, run, data)

    return both(run)


def test_the_replay_holds_what_was_meant_and_what_came_of_it():
    state, _ = train(make_perturbed(), walker())
    rows = jax.tree.map(lambda x: np.asarray(x[: 10 * LENGTH]), state.buffer.data)
    np.testing.assert_array_equal(rows.actions, np.tile(MEANT, (10 * LENGTH, 1)))
    paid = (rows.rewards - rows.observations[:, 0] / LENGTH).reshape(10, LENGTH)
    np.testing.assert_allclose(paid, paid[:, :1].repeat(LENGTH, 1), atol=1e-6)
    possible = (MEANT * (1 + MEMBERS)).sum(1)
    distances = np.abs(paid[:, :1] - possible)
    assert (distances.min(1) < 1e-6).all()
    assert len(set(distances.argmin(1))) > 1


def test_a_run_at_q_0_is_the_run_without_a_perturbation():
    """What is stored, learned and met; a hit of 1e-3 would show in all of it."""
    env = walker()
    agent = TD3Config(learning_rate=1e-2, hidden_dims=HIDDEN)
    spared = make_perturbed(q=0.0, agent=agent)
    faulty, _ = train(spared, env, AGENTS["td3"], 60, updates=1)
    clean, _ = train(
        spared.replace(perturbation=None), env, AGENTS["td3"], 60, updates=1
    )
    assert clean.buffer.data.terminations.sum() > 0
    same = faulty._replace(curriculum=None, env=faulty.env._replace(env=clean.env.env))
    assert_trees_close(same, clean, LEARNED)
    physics = faulty.env.env.physics.physics
    assert_trees_close(physics, clean.env.env.physics, LEARNED)


@pytest.mark.parametrize(
    ("condition", "q"), [("mix", 0.5), ("normal", 0.0), ("adversarial", 1.0)]
)
def test_a_chunk_ends_with_the_score_that_moves_q(condition, q):
    """All members are one, so an episode is either clean or hit by it."""
    run = make_perturbed(
        q=0.5,
        members=MEMBERS[:1],
        step_size=0.1,
        smoothing=0.5,
        low=-1.0,
        high=3.0,
        condition=CURRICULUM_CONDITIONS[condition],
    )
    state, metrics = train(run, walker(), episodes=400)
    clean = LENGTH * float(MEANT.sum())
    hit = LENGTH * float((MEANT * (1 + MEMBERS[0])).sum())
    expected = (q * hit + (1 - q) * clean + 1.0) / 4.0
    # of a mix, the standard error of 400 episodes
    spread = 3 * 0.5 * abs(hit - clean) / 4 / 20 if condition == "mix" else 5e-4
    assert metrics["curriculum/score"] == pytest.approx(expected, abs=spread + 5e-4)
    assert metrics["curriculum/q"] == 0.5
    smoothed = 0.5 * float(metrics["curriculum/score"])  # from 0
    assert metrics["curriculum/smoothed"] == pytest.approx(smoothed, rel=1e-5)
    assert state.curriculum.q == pytest.approx(0.5 + 0.1 * smoothed, rel=1e-5)
    assert metrics["curriculum/next_q"] == state.curriculum.q
    assert metrics["curriculum/hit_bound"] == 0.0


def test_the_first_score_is_that_of_the_policy_at_the_start():
    run = make_perturbed(q=0.0, low=0.0, high=2.0)
    env, buffer = walker(), make_buffer(10, 1)
    state = online.start(jnp.zeros((), jnp.int32), env, buffer, run)
    state = jax.jit(
        lambda state: adversarial.first_score(AGENT, env, state, UNIT, run, 300)
    )(state)
    expected = LENGTH * float(MEANT.sum()) / 2
    assert state.curriculum.smoothed == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("count", [50, NUM_ROWS])
def test_prefill_puts_distinct_rows_first_and_the_replay_forgets_them_first(count):
    run, data = make_run(), make_data(2, 2)
    buffer = make_buffer(NUM_ROWS, 1)
    state = online.start(jnp.zeros((), jnp.int32), walker(), buffer, run)
    state = jax.jit(lambda state: online.prefill(state, buffer, run, data, count))(
        state
    )
    assert state.buffer.size == count
    numbers = np.asarray(state.buffer.data.terminations[:count]).astype(int) - 1
    assert len(set(numbers)) == count
    assert count == NUM_ROWS or not (numbers == np.arange(count)).all()
    # with the damage that pretraining saw
    expected = offline.take_rows(
        jnp.asarray(numbers), offline.data_key(run), data, run.offline_corruption
    )
    filled = jax.tree.map(lambda x: x[:count], state.buffer.data)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        filled,
        expected,
    )
    new = jax.tree.map(lambda x: jnp.full_like(x[:1], 777.0), data.transitions)
    full = functools.reduce(
        lambda s, _: buffer.add(s, new), range(NUM_ROWS - count + 3), state.buffer
    )
    kept = np.asarray(full.data.terminations)
    assert (kept == 777.0).sum() == NUM_ROWS - count + 3
    assert set(kept[kept != 777.0]) == set(numbers[3:] + 1.0)


class Critics(NamedTuple):
    """Two linear critics."""

    critic: jax.Array  # [2, action_dim]


# The first falls along (1, -1) where the second rises, and the lower one is the second.
CRITICS = Critics(jnp.array([[-1.0, 1.0], [1.0, -1.0]]))


def lowest(state, observations, actions, config):
    """The minimum, as agents' `action_value`; scaled by what is seen of the walker."""
    return (observations[1] * (state.critic @ actions)).min(0)


@pytest.mark.parametrize("q", [0.0, 1.0])
def test_training_under_pgd_meets_the_first_critic_as_it_is_now(q):
    """An update turns both critics round, so that delta turns with every step."""
    learner = AGENT._replace(
        init=lambda key, spec, config: CRITICS,
        update=lambda key, state, batch, config: (Critics(-state.critic), {}),
        action_value=lowest,
    )
    run = make_perturbed(q)
    attacked = run.perturbation.replace(pgd=PGDSettings(), bound=jnp.float32(0.2))
    run, steps = run.replace(perturbation=attacked), 2 * LENGTH + 1
    state, metrics = train(run, walker(), learner, steps, 50, 1, SHIFTED)
    rows = jax.tree.map(lambda x: np.asarray(x[:steps]), state.buffer.data)
    deltas = -0.2 * (-1.0) ** np.arange(steps)  # of both actuators
    paid = rows.rewards - rows.observations[:, 0] / LENGTH
    np.testing.assert_allclose(paid, MEANT.sum() * (1 + q * deltas), atol=1e-6)
    # the curriculum's episodes, after an odd number of updates
    expected = LENGTH * float(MEANT.sum()) * (1 + q * 0.2)
    assert metrics["curriculum/score"] == pytest.approx(expected, abs=6e-3)


def evaluate(
    condition, num_episodes=9, agent=AGENT, attacked=None, statistics=UNIT, **kwargs
):
    attacked = attacked or Attacked(jnp.float32(0.4), MEMBERS, None, None)
    of_condition = make_evaluate_under(
        condition, agent, walker(), num_episodes=num_episodes, **kwargs
    )
    state = jnp.zeros((), jnp.int32)
    return np.asarray(
        jax.jit(lambda: of_condition(state, statistics, make_run(), 0, attacked))()
    )


def test_conditions_share_their_resets_and_episode_i_meets_member_i_mod_k():
    normal, adversarial_ = evaluate("normal"), evaluate("adversarial")
    gifts = normal - LENGTH * MEANT.sum()
    assert 0 < np.abs(gifts).max() < 0.1
    deltas = MEMBERS[np.arange(9) % 3]
    expected = LENGTH * (MEANT * (1 + deltas)).sum(1) + gifts
    np.testing.assert_allclose(adversarial_, expected, rtol=1e-5)


def test_random_is_uniform_in_the_box_and_drawn_once_an_episode():
    extra = evaluate("random", 4000) - evaluate("normal", 4000)
    # sum of two uniforms, of half-widths 4 * 0.4 * 0.5 and 4 * 0.4 * 0.25
    assert extra.mean() == pytest.approx(0.0, abs=3 * extra.std() / np.sqrt(4000))
    assert extra.std() == pytest.approx(np.hypot(0.8, 0.4) / np.sqrt(3), rel=0.05)
    assert 1.05 < np.abs(extra).max() < 1.2


@pytest.mark.parametrize(
    ("condition", "signs"), [("pgd", (-1, 1)), ("pgd-own", (-1, -1))]
)
def test_pgd_descends_on_the_first_pretrained_critic(condition, signs):
    """At the pretrained action, or at that of the policy under test, MEANT."""
    pretrained = glass_agent(
        lambda observations, greedy: jnp.broadcast_to(
            jnp.array([0.5, 0.25]), (*observations.shape[:-1], 2)
        )
    )._replace(action_value=lowest)
    attacked = Attacked(jnp.float32(0.4), MEMBERS, CRITICS, TD3Config(), PGDSettings())
    hit = evaluate(
        condition, attacked=attacked, statistics=SHIFTED, pretrained=pretrained
    )
    delta = 0.4 * np.array(signs)  # applied to MEANT
    np.testing.assert_allclose(
        hit - evaluate("normal"), LENGTH * (MEANT @ delta), rtol=1e-4
    )


def test_the_search_finds_the_corner_and_every_search_has_its_own_resets():
    settings = DESettings(population_size=12, generations=25)
    env, state = walker(), jnp.zeros((), jnp.int32)
    search = make_search(AGENT, env, settings, num_searches=3, num_episodes=2)
    policy = jax.random.key(1), state, UNIT, None, jnp.float32(0.3)

    @jax.jit
    def found():
        searches = search.start(*policy)
        for number in range(25):
            searches = search.generation(number, searches, *policy)
        return best(searches)

    members, returns = jax.tree.map(np.asarray, found())
    corner = -0.3 * np.sign(MEANT)
    np.testing.assert_allclose(members, np.tile(corner, (3, 1)), atol=5e-3)
    worst = LENGTH * (MEANT * (1 + members)).sum(1)
    gifts = np.asarray(returns - worst)
    assert len(set(gifts.tolist())) == 3 and np.abs(gifts).max() < 0.1
    # the same key, the same resets: all perturbations are compared on equal terms
    both = mean_returns(
        AGENT, env, state, UNIT, None, jax.random.key(2), 5, jnp.stack([MEANT, MEANT])
    )
    assert both[0] == both[1]


def test_strengths_curricula_and_seeds_share_one_program():
    """All of q, alpha, eta, cap, bound, box or set, and seed differ; traced once."""
    traces = []
    agent = AGENTS["td3"]

    def update(*args):
        traces.append(1)
        return agent.update(*args)

    config = TD3Config(hidden_dims=(8,))
    curricula = [
        Curriculum(initial=0.5),
        Curriculum(increment=0.1),
        Curriculum(step_size=1.0, smoothing=0.3, cap=0.2),
        Curriculum(step_size=0.5, condition=CURRICULUM_CONDITIONS["normal"]),
    ]
    runs = [
        RunConfig(
            seed,
            config,
            CLEAN,
            CLEAN,
            0,
            Perturbation(
                MEMBERS * (seed + 1) / 4,
                bound=0.1 + 0.1 * seed,
                uniform=seed % 2,
                curriculum=curriculum,
            ),
        )
        for seed, curriculum in enumerate(curricula)
    ]
    assert len(sweep.group_by(runs, sweep.structure)) == 1
    data = with_true_flags(make_data(2, 2))
    runs = sweep.stack(runs)
    pretrained = jax.vmap(
        lambda run: offline.start(agent, walker().spec, run, data), in_axes=0
    )(runs)
    phase = sweep.online_phase(
        agent._replace(update=update),
        METHODS["direct"],
        walker(),
        batch_size=8,
        num_offline=0,
        capacity=100,
        warmup=0,
        num_steps=6,
        updates_per_step=1,
        num_episodes=2,
        prefill=20,
        curriculum_episodes=2,
    )
    state = phase.start(pretrained, runs, data)
    state, _ = phase.chunk(state, pretrained.statistics, runs, data)
    before = len(traces)
    other = jax.tree.map(lambda x: x, runs).replace(
        perturbation=runs.perturbation.replace(bound=runs.perturbation.bound * 0.5)
    )
    _, metrics = phase.chunk(state, pretrained.statistics, other, data)
    assert before > 0 and len(traces) == before
    assert phase.chunk._cache_size() == 1
    q = np.asarray(metrics["curriculum/q"])
    np.testing.assert_allclose(q[:2], [0.5, 0.1], rtol=1e-6)
