"""The two sides of the attack's benchmark: one policy, the same episodes and rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import attack_bound, attack_cost, scipy_attack
from experiments.policies import Policies
from rpex_jax import envs, sweep
from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.attacks.corruption import corruption
from rpex_jax.data.statistics import ObservationStatistics, standardise
from rpex_jax.training.offline import from_scratch
from rpex_jax.training.run import RunConfig
from rpex_jax.types import Spec

SPEC = Spec(observation_dim=5, action_dim=2)


@pytest.mark.parametrize("name", ["sac", "td3", "iql"])
def test_policy_in_numpy_is_the_agents(name):
    config = CONFIGS[name](hidden_dims=(8, 8))
    state = AGENTS[name].init(jax.random.key(0), SPEC, config)
    statistics = ObservationStatistics(jnp.arange(5.0), 1 + jnp.arange(5.0))
    policy = attack_cost.in_numpy(state.actor["params"], statistics)

    def act(observation):
        seen = standardise(observation, statistics)
        return AGENTS[name].act(jax.random.key(0), state, seen, config, greedy=True)

    attack_cost.check_policies(policy, act, SPEC.observation_dim)
    broken = policy._replace(mean=policy.mean + 1)
    with pytest.raises(ValueError, match="the policy in NumPy gives"):
        attack_cost.check_policies(broken, act, SPEC.observation_dim)


def test_both_sides_run_the_same_episodes():
    """Ours and Gymnasium's, from the same resets: returns, and steps to the fall."""
    env = envs.make("Hopper-v4")
    config = CONFIGS["sac"](hidden_dims=(8, 8))
    clean, untrained = corruption(()), from_scratch(env.spec)[0]
    run = RunConfig(0, config, clean, clean, corrupt_again=0)
    state = AGENTS["sac"].init(jax.random.key(0), env.spec, config)
    stacked = [sweep.stack([x]) for x in (state, untrained.statistics, run)]
    group = Policies([{}], AGENTS["sac"], *stacked, step=jnp.zeros(1), pretrained=None)
    problem = attack_cost.make_problem(env, group)
    key, _ = attack_cost.keys_of(problem, 0)
    deltas = jnp.array([[-0.5, 0.5, 0.2], [0.0, 0.0, 0.0]])
    ours = jax.jit(
        lambda: [f(key, 2, deltas) for f in (problem.returns, problem.lengths)]
    )
    starts = problem.starts(key, 2)
    theirs = [scipy_attack.Fitness(env.name, problem.policy, starts) for _ in deltas]
    returns = [fitness(delta) for fitness, delta in zip(theirs, deltas, strict=True)]
    lengths = [fitness.steps / 2 for fitness in theirs]
    assert 5 < min(lengths) and max(lengths) < 1000
    np.testing.assert_allclose(ours(), [returns, lengths], rtol=1e-3)
    assert abs(returns[0] - returns[1]) > 1


def test_scipys_search_takes_our_settings():
    """Population and generations; and a bound that is the optimum of w . delta."""
    calls = []

    def fitness(delta):
        calls.append(delta)
        return float(delta @ np.array([1.0, -2.0]))

    settings = dict(coordinates=2, population_size=12, generations=20)
    settings |= dict(mutation_low=0.5, mutation_high=1.0, crossover=0.7)
    found = scipy_attack.search(fitness, 0.3, settings, processes=1)
    assert len(calls) == 12 * 21
    np.testing.assert_allclose(found.vector, [-0.3, 0.3], atol=0.01)
    assert found.fitness == fitness(found.vector)


def test_scores_of_bounds():
    returns = {name: [-20.272305, 3234.3] for name in attack_bound.CONDITIONS}
    row = {"env": "Hopper-v4", "policy": "medium 0", "bound": 0.2, "returns": returns}
    cell = "50.0 ± 50.0"
    assert f"| Hopper-v4 | medium 0 | 0.2 | {cell} | {cell} | {cell} |" in (
        attack_bound.table([row])
    )


def test_generations_to_a_return():
    """The first that is as low; the start is none; a return never found has none."""
    history = [5.0, 3.0, 3.0, 1.0]
    goals = (6.0, 3.0, 2.0, 0.5)
    found = [attack_cost.generations_to(goal, history) for goal in goals]
    assert found == [0, 1, 3, None]
