"""The study of the grid world: its data, its selection, and what it leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import discrete_iql, gridworld, gridworld_data
from experiments.configs.gridworld import get_config
from experiments.gridworld import POLICY, Rule
from experiments.gridworld_changes import changes
from rpex_jax import sweep
from rpex_jax.agents import iql
from rpex_jax.agents.critics import apply_critics
from rpex_jax.data.statistics import standardise
from rpex_jax.envs.gridworld import DIRECTIONS, GRIDS, RADIUS, TIME_LIMIT, centres
from rpex_jax.types import Spec, Transition


def tiny():
    config = get_config().unlock()
    config.seeds = (0, 1)
    config.data.walkers, config.data.steps, config.data.restart = 8, 12, 5
    config.updates, config.batch_size, config.sampled_paths = 20, 16, 3
    config.agent.hidden_dims = (8,)
    config.kappas = (0.0, 0.1)
    return config.lock()


@pytest.fixture(scope="module")
def learned():
    config, grid = tiny(), GRIDS["open"]
    gridworld.check(config)
    data = gridworld_data.make_data(grid, config)
    states, runs = gridworld.train(grid, config, data)
    rules = gridworld.rules_of(config)
    paths = gridworld.find_paths(grid, config, states, runs, rules)
    return config, data, states, runs, rules, paths


def test_who_knows_the_way_takes_a_short_one():
    """Open: the diagonal, 9 sqrt(2) - 0.75 = 12 moves. Wall: round its end."""
    assert gridworld_data.fewest_moves(GRIDS["open"]) == 12
    corners = np.array([[9.5, 0.5], [1.5, 4.5], [1.5, 6.5], [9.5, 9.5]])
    way = np.linalg.norm(np.diff(corners, axis=0), axis=1).sum()
    assert gridworld_data.fewest_moves(GRIDS["wall"]) <= 1.1 * way + 1


def test_the_data(learned):
    """Rows are moves of the world; half of the walkers mostly approach the goal."""
    _, data, *_ = learned
    t = jax.tree.map(lambda x: np.asarray(x[0]).reshape(8, 12, -1), data)
    goal = centres(GRIDS["open"], "G")[0]
    moves = t.next_observations - t.observations
    directions = DIRECTIONS[t.actions.argmax(-1)]
    stays = (moves == 0).all(-1)
    np.testing.assert_allclose(moves[~stays], directions[~stays], atol=1e-5)
    after = np.linalg.norm(t.next_observations - goal, axis=-1)
    np.testing.assert_allclose(t.rewards[..., 0], -after, rtol=1e-5)
    np.testing.assert_array_equal(t.terminations[..., 0], after < RADIUS)
    nearer = np.linalg.norm(t.observations - goal, axis=-1) - after
    assert nearer[:4].mean() > 0.5 > 0.3 > nearer[4:].mean()
    again = (t.observations[:, 1:] != t.next_observations[:, :-1]).any(-1)
    windows = np.lib.stride_tricks.sliding_window_view(again, 5, axis=1)
    assert windows.any(-1).all()  # a new start after five moves at the latest


def test_damage_is_in_the_corrupted_runs_alone(learned):
    """The networks of a seed start alike; its clean and its corrupted run part."""
    _, data, states, runs, *_ = learned
    assert (runs.offline_corruption.rate[0] == 0).all()
    np.testing.assert_array_equal(runs.offline_corruption.rate[1, 0], [0.5, 0, 0, 0])
    both = np.concatenate([data.observations[0], data.next_observations[0]])
    clean, corrupted = states.statistics.std[:, 0]
    np.testing.assert_allclose(clean, both.std(0) + 1e-3, rtol=1e-4)
    assert (corrupted > clean).all()


def test_logits_of_the_moves(learned):
    """lambda min Q + kappa clip((Q - V) / (pi + 1e-6)) in NumPy; and log pi."""
    _, _, states, runs, *_ = learned
    state, run = jax.tree.map(lambda x: x[1, 0], (states, runs))
    places = jnp.array([[0.5, 0.5], [7.2, 3.1], [9.0, 9.9]])
    s = standardise(places, state.statistics)
    one_hot = np.eye(8, dtype=np.float32)
    q = np.stack(
        [
            apply_critics(state.agent.critic, s, jnp.tile(a, (3, 1)), run.agent).min(0)
            for a in one_hot
        ],
        axis=-1,
    ).astype(np.float64)
    v = np.asarray(iql.state_value(state.agent, s, run.agent), np.float64)
    raw = np.asarray(discrete_iql.policy(state.agent, s, run.agent).logits, np.float64)
    pi = np.exp(raw) / np.exp(raw).sum(-1, keepdims=True)
    w = np.clip((q - v[:, None]) / (pi + 1e-6), -1e4, 1e2)
    for rule, expected in (
        (Rule(3.0, 0.1), 3.0 * q + 0.1 * w),
        (Rule(0.3, 0.0), 0.3 * q),
        (POLICY, np.log(pi)),
    ):
        ours = gridworld.logits(state, run, rule, places)
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_most_probable_paths(learned):
    """Step by step the move of the highest logit, until the goal or the limit."""
    _, _, states, runs, rules, paths = learned
    assert paths.length.shape == (2, 2, len(rules))
    assert paths.positions.shape == (2, 2, len(rules), TIME_LIMIT + 1, 2)
    state, run = jax.tree.map(lambda x: x[1, 1], (states, runs))
    k = rules.index(Rule(3.0, 0.1))
    positions = np.asarray(paths.positions[1, 1, k])
    best = gridworld.logits(state, run, rules[k], jnp.asarray(positions[:-1])).argmax(
        -1
    )
    moved = positions + DIRECTIONS[np.append(best, 0)]
    inside = ((moved >= 0) & (moved < 10)).all(-1)
    for t in range(min(int(paths.length[1, 1, k]), TIME_LIMIT)):
        expected = moved[t] if inside[t] else positions[t]
        np.testing.assert_allclose(positions[t + 1], expected, atol=1e-5)


def test_the_policy_learns_from_good_moves():
    """AWR at one state: of two moves with rewards 0 and -1, the better one."""
    config = iql.IQLConfig(
        hidden_dims=(16,), learning_rate=1e-2, target_update_rate=0.1
    )
    state = discrete_iql.init(jax.random.key(0), Spec(2, 8), config)
    moves = jnp.tile(jnp.array([2, 5]), 8)
    nowhere, rewards = jnp.zeros((16, 2)), jnp.where(moves == 2, 0.0, -1.0)
    batch = Transition(
        nowhere, jax.nn.one_hot(moves, 8), rewards, nowhere, jnp.ones(16)
    )

    def one(state, key):
        return discrete_iql.update(key, state, batch, config)[0], None

    keys = jax.random.split(jax.random.key(1), 300)
    state, _ = jax.jit(lambda s: jax.lax.scan(one, s, keys))(state)
    log_p = discrete_iql.log_policy(state, jnp.zeros(2), config)
    # weights exp(3 A) of the two advantages, which differ by 1
    np.testing.assert_allclose(log_p[2] - log_p[5], 3.0, atol=0.3)
    np.testing.assert_allclose(jnp.exp(log_p[jnp.array([2, 5])]).sum(), 1, atol=0.05)


def test_what_the_correction_changes():
    """Two places west and south of the goal; at the first it takes another move."""
    east, north = 0, 2
    np.testing.assert_allclose(DIRECTIONS[[east, north]], [[1, 0], [0, 1]], atol=1e-9)
    plain, corrected = np.zeros((1, 2, 8)), np.zeros((1, 2, 8))
    plain[0, :, [east, north]] = np.eye(2)
    corrected[0, :, north] = 1.0
    policy = np.full((1, 2, 8), 0.05)
    policy[0, 0, east] = 0.65
    places = np.array([[0.5, 9.5], [9.5, 0.5]])
    found = changes(corrected, plain, np.log(policy), places, np.array([9.5, 9.5]))
    np.testing.assert_allclose(found, [0.5, 0.05, 0.65, -1.0])
    same = changes(plain, plain, np.log(policy), places, np.array([9.5, 9.5]))
    assert same.share == 0 and np.isnan(same.taken)


def test_the_second_table_has_every_correction(learned):
    """Its shares are those of the moves at 99 places of two seeds."""
    _, _, states, runs, rules, _ = learned
    lines = gridworld.why(GRIDS["open"], states, runs, rules).splitlines()[2:6]
    cells = jnp.asarray(centres(GRIDS["open"], " S"))
    moves = [
        gridworld.logits_of_runs(states, runs, Rule(0.3, kappa), cells).argmax(-1)
        for kappa in (0.0, 0.1)
    ]
    shares = (moves[0] != moves[1]).mean((1, 2))
    for line, name, share in zip(
        lines[2:], ("clean", "corrupted"), shares, strict=True
    ):
        assert line.startswith(f"| {name} | 0.3 | 0.1 | {share:.1%} | 0.")


def test_what_is_printed_and_drawn(learned, tmp_path):
    """Paired differences over seeds; a panel each of data and of the four kinds."""
    config, data, states, runs, rules, paths = learned
    length = np.full(paths.length.shape, 12.0)
    length[1] = [[14.0] * len(rules), [18.0] * len(rules)]
    length[1, :, rules.index(Rule(3.0, 0.1))] = [13.0, 100.0]
    text = gridworld.table(config, rules, paths._replace(length=length))
    assert "| corrupted | 3 | 0 | 16.0 ± 2.0 | 2/2 | 4.0 ± 2.0 |  |" in text
    assert (
        "| corrupted | 3 | 0.1 | 56.5 ± 43.5 | 1/2 | 44.5 ± 43.5 | 40.5 ± 41.5" in text
    )
    grid = GRIDS["open"]
    panels = gridworld.panels_of(grid, config, states, runs, rules, paths)
    assert len(panels) == 4
    for panel in panels:
        assert panel.probabilities.shape == (99, 8)
        np.testing.assert_allclose(panel.probabilities.sum(1), 1.0, rtol=1e-5)
    gridworld.plot(grid, sweep.take(data, 0), panels, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
