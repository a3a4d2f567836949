"""The attack program: what it finds, what it keeps, what it films."""

from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import attack, films
from experiments.configs.attack import get_config
from experiments.policies import Policies, Pretrained
from rpex_jax import envs, sweep
from rpex_jax.agents.uniform import uniform
from rpex_jax.attacks.corruption import corruption
from rpex_jax.attacks.perturbation import PGDSettings
from rpex_jax.data import attack_sets
from rpex_jax.envs import Env, rendering
from rpex_jax.envs.base import EnvState
from rpex_jax.training.offline import from_scratch
from rpex_jax.training.run import RunConfig, stream
from rpex_jax.types import Spec


def constant_policies(env: Env, actions: np.ndarray) -> Policies:
    """Runs whose state is the one action that they take: [runs, action_dim]."""
    agent = uniform(env.spec)._replace(
        act=lambda key, state, observations, config, *, greedy: jnp.broadcast_to(
            state, (*observations.shape[:-1], env.spec.action_dim)
        )
    )
    clean, count = corruption(()), len(actions)
    runs = sweep.stack(
        [RunConfig(seed, None, clean, clean, corrupt_again=0) for seed in range(count)]
    )
    statistics = sweep.stack([from_scratch(env.spec)[0].statistics] * count)
    labels = [{"policy": "constant", "seed": seed} for seed in range(count)]
    states = jnp.asarray(actions, jnp.float32)
    itself = Pretrained(agent, states, None, Path("nowhere"), [], PGDSettings())
    steps = jnp.zeros(count, jnp.int32)
    return Policies(labels, agent, states, statistics, runs, steps, itself)


def drift() -> Env:
    """Pays -w . executed action in each of two steps; w is drawn at the reset."""

    def reset(key):
        weights = 1.0 + jax.random.uniform(key, (2,))
        zero, no = jnp.zeros(()), jnp.zeros((), bool)
        time = jnp.zeros((), jnp.int32)
        return EnvState(weights, weights, zero, no, no, time, no)

    def step(state, action):
        reward, time = -state.physics @ action, state.time + 1
        return state._replace(reward=reward, time=time, truncated=time >= 2)

    return Env("drift", Spec(2, 2), reset, step, time_limit=2)


@pytest.fixture(scope="module")
def attacked():
    """Two policies of opposite signs: the environment, the group, rows and finds."""
    env = drift()
    group = constant_policies(env, np.array([[0.5, -0.5], [-0.5, 0.5]]))
    config = get_config().unlock()
    config.bound, config.searches, config.population_size = 0.4, 3, 12
    config.generations = 25
    return env, group, *attack.attack(env, [group], config, episodes=6)


def test_the_worst_corner_is_found(attacked):
    """The optimum of a linear reward is -bound sign(w a): known without a search."""
    _, group, rows, found = attacked
    for of_run, action in zip(found, np.asarray(group.states), strict=True):
        worst = of_run.vectors[of_run.worst]
        np.testing.assert_allclose(worst, 0.4 * np.sign(action), atol=0.02)
        assert (np.abs(of_run.vectors) <= np.float32(0.4)).all()
    assert [row.condition for row in rows[::2]] == [
        "normal",
        "random",
        "adversarial",
        "worst found",
    ]


def test_returns_are_those_of_the_perturbed_actions(attacked):
    """From the resets alone, which all conditions share."""
    _, group, rows, found = attacked
    returns = {(row.labels["seed"], row.condition): row.returns for row in rows}
    for seed, (of_run, action) in enumerate(
        zip(found, np.asarray(group.states), strict=True)
    ):
        normal = np.array(returns[seed, "normal"])
        for names, vectors in (
            ("adversarial", of_run.vectors),
            ("worst found", of_run.vectors[of_run.worst][None]),
        ):
            # two weights, two equations: normal's return and the attack's
            hit = np.array(returns[seed, names])
            for i, vector in enumerate(np.resize(vectors, (6, 2))):
                pays = np.array([normal[i], hit[i]])
                weights = np.linalg.solve(
                    -2 * np.stack([action, action * (1 + vector)]), pays
                )
                assert ((weights > 0.9) & (weights < 2.1)).all()
        assert (np.array(returns[seed, "worst found"]) < normal).all()


def test_a_worst_member_is_of_the_set(attacked):
    _, _, rows, found = attacked
    for seed, of_run in enumerate(found):
        (of_set,) = (
            row.returns
            for row in rows
            if row.condition == "adversarial" and row.labels["seed"] == seed
        )
        means = np.array(of_set).reshape(-1, 3).mean(0)
        assert of_run.worst == means.argmin()


def test_report_names_the_perturbation(attacked):
    text = attack.report(attacked[3])
    vector = attacked[3][1].vectors[attacked[3][1].worst]
    assert (
        f"| constant | 1 | {attacked[3][1].returns[attacked[3][1].worst]:.1f} |" in text
    )
    assert f"{vector[0]:+.3f}, {vector[1]:+.3f}" in text


def test_what_is_kept_is_an_attack_set(attacked, tmp_path):
    """Of one run, with its settings; for its environment alone."""
    env, _, _, found = attacked
    config, path = get_config().unlock(), tmp_path / "attack.json"
    config.bound = 0.4
    attack_sets.save(path, attack.attack_set(env, config, found[1], "runs/a"))
    kept = attack_sets.load(path, env_name="drift", action_dim=2)
    np.testing.assert_array_equal(kept.vectors, found[1].vectors)
    assert (kept.policy, kept.bound) == ("runs/a policy=constant seed=1", 0.4)
    assert kept.settings == config.to_dict()
    with pytest.raises(attack_sets.AttackSetError, match="'env'"):
        attack_sets.load(path, env_name="Hopper-v4", action_dim=2)


def test_a_film_is_of_the_perturbed_walk(tmp_path, monkeypatch):
    """The same pushes of a cart give the same positions in Gymnasium, and its end."""
    env = envs.make("InvertedPendulum-v4")
    group = constant_policies(env, np.array([[0.02]]))
    filmed = {}
    monkeypatch.setattr(
        rendering, "write_video", lambda path, _, walk, dt: filmed.update({path: walk})
    )
    films.film(env, group, 0, {tmp_path / "a": np.zeros(1), tmp_path / "b": np.ones(1)})
    key = jax.random.fold_in(stream(sweep.take(group.runs, 0), "evaluation"), 0)
    start = env.reset(jax.random.split(key)[0]).physics
    world = gymnasium.make("InvertedPendulum-v4")
    for action, walk in zip((0.02, 0.04), filmed.values(), strict=True):
        world.reset()
        world.unwrapped.set_state(np.asarray(start.qpos), np.asarray(start.qvel))
        positions, ended = [], False
        while not ended:
            _, _, ended, _, _ = world.step(action * world.action_space.high)
            positions.append(world.unwrapped.data.qpos.copy())
        assert 5 < len(positions) < 100
        np.testing.assert_allclose(walk, positions, atol=1e-5)
