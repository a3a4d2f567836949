"""A linear system whose best gain is known, with actuators that are too strong.

The state moves by what is executed and pays its square, so the best clean gain brings
it to 0 at once; under a member delta of the set the state is (1 - k (1 + delta)) s.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax import sweep
from rpex_jax.agents import AGENTS
from rpex_jax.agents.td3 import TD3Config
from rpex_jax.attacks.corruption import corruption
from rpex_jax.attacks.curriculum import Curriculum
from rpex_jax.attacks.perturbation import Perturbation
from rpex_jax.data.dataset import Dataset
from rpex_jax.envs import Env
from rpex_jax.envs.base import EnvState
from rpex_jax.methods import METHODS
from rpex_jax.training import offline
from rpex_jax.training.conditions import Attacked
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Spec, Transition

LENGTH, SPREAD = 4, 0.6
MEMBERS = jnp.array([[0.8], [0.2]])  # the first is the worse one for every gain
SEEDS = (0, 1)


def linear_system() -> Env:
    """s' = s + executed, pays -s'^2; s_0 ~ U(-0.6, 0.6), so no action is clipped."""

    def reset(key):
        start = jax.random.uniform(key, (1,), minval=-SPREAD, maxval=SPREAD)
        no = jnp.zeros((), bool)
        return EnvState(
            start, start, jnp.zeros(()), no, no, jnp.zeros((), jnp.int32), no
        )

    def step(state, action):
        moved, time = state.physics + action, state.time + 1
        return state._replace(
            physics=moved, observation=moved, reward=-jnp.sum(moved**2), time=time
        )

    return Env("linear", Spec(1, 1), reset, step, time_limit=LENGTH)


def uniform_data() -> offline.OfflineData:
    """Transitions of the clean system under uniform actions."""
    rng = np.random.default_rng(0)
    states = rng.uniform(-SPREAD, SPREAD, (2_000, 1))
    actions = rng.uniform(-1, 1, (2_000, 1))
    moved = states + actions
    rows = Transition(states, actions, -(moved**2).sum(1), moved, np.zeros(2_000))
    rows = jax.tree.map(lambda x: x.astype(np.float32), rows)
    return offline.put_on_device(Dataset(rows, np.zeros(2_000, bool)))


def exact_return(gain: float, delta: float) -> float:
    """Mean return of the policy -gain s under a perturbation."""
    shrunk = (1 - gain * (1 + delta)) ** (2 * np.arange(1, LENGTH + 1))
    return -float(shrunk.sum()) * SPREAD**2 / 3


@pytest.fixture(scope="module")
def returns():
    """q -> condition -> returns [seeds, episodes], of TD3 after TD3 from one start."""
    env, agent, data = linear_system(), AGENTS["td3"], uniform_data()
    config = TD3Config(learning_rate=2e-3, discount=0.5, hidden_dims=(32, 32))
    clean = corruption(())
    grid = [(q, seed) for q in (0.0, 1.0) for seed in SEEDS]
    runs = sweep.stack(
        [
            RunConfig(
                seed,
                config,
                clean,
                clean,
                0,
                Perturbation(MEMBERS, curriculum=Curriculum(initial=q)),
            )
            for q, seed in grid
        ]
    )
    before = sweep.offline_phase(
        agent, env, batch_size=64, num_updates=1_500, num_episodes=1
    )
    pretrained, _ = before.chunk(before.start(runs, data), runs, data)
    phase = sweep.online_phase(
        agent,
        METHODS["direct"],
        env,
        batch_size=64,
        num_offline=0,
        capacity=4_000,
        warmup=64,
        num_steps=3_000,
        updates_per_step=1,
        num_episodes=1,
        curriculum_episodes=2,
    )
    state = phase.start(pretrained, runs, data)
    state, _ = phase.chunk(state, pretrained.statistics, runs, data)
    members = Attacked(  # episodes meet them in turn
        jnp.full(len(grid), 0.8),
        jnp.tile(MEMBERS, (len(grid), 1, 1)),
        pretrained.agent,
        runs.agent,
    )
    evaluate = sweep.conditions_phase(
        agent, env, ("normal", "adversarial"), num_episodes=200, pretrained=agent
    )
    found = evaluate(state.agent, pretrained.statistics, runs, state.step, members)
    count = len(SEEDS)
    return {
        q: {name: np.asarray(of_runs[i : i + count]) for name, of_runs in found.items()}
        for i, q in ((0, 0.0), (count, 1.0))
    }


def test_adversarial_fine_tuning_wins_on_the_worst_member(returns):
    clean, robust = (returns[q]["adversarial"][:, ::2].mean(1) for q in (0.0, 1.0))
    assert (robust > 0.5 * clean).all()  # less than half of the cost
    assert clean.mean() == pytest.approx(exact_return(1.0, 0.8), rel=0.3)


def test_the_clean_policy_wins_where_nothing_is_perturbed(returns):
    clean, robust = (returns[q]["normal"].mean(1) for q in (0.0, 1.0))
    assert (clean > 0.5 * robust).all()


def test_it_comes_near_the_best_gain_for_the_set(returns):
    """Of a memoryless policy, whose best is an average over the members."""

    def mean_return(gain):
        return np.mean([exact_return(gain, float(delta)) for delta in MEMBERS[:, 0]])

    best = max(mean_return(gain) for gain in np.linspace(0.3, 1.2, 500))
    found = returns[1.0]["adversarial"].mean()
    assert found > best + 0.2 * (mean_return(1.0) - best)
