"""What holds for every agent: numbers are leaves, runs are independent, keys are fresh.

The values of their updates are checked in tests/parity.
"""

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.expansion import ExpansionConfig, policy_set
from rpex_jax.types import Spec, Transition

SPEC = Spec(observation_dim=4, action_dim=2)
BATCH, NUM_RUNS = 8, 10
NETWORKS = {"hidden_dims": (8, 8)}
# vmap turns products into batched ones, which sum in another order: a few roundings
# of float32 in parameters of order 1 after one Adam step of 1e-3.
TOLERANCE = 1e-5

SWEPT = {
    "td3": {
        "alpha": (0.0, 5.0),
        "bc_weight": (0.0, 1.0),
        "target_noise": (0.0, 1.0),
        "exploration_noise": (0.0, 1.0),
    },
    "awac": {"beta": (0.1, 5.0), "discount": (0.5, 0.999)},
    "iql": {"expectile": (0.1, 0.95), "beta": (0.5, 10.0), "align": (0.0, 1.0)},
    "riql": {"sigma": (0.1, 3.0), "quantile": (0.0, 0.9), "expectile": (0.3, 0.9)},
    "sac": {"entropy_per_dimension": (-2.0, 0.0), "discount": (0.5, 0.999)},
    "edac": {"eta": (0.0, 5.0), "discount": (0.5, 0.999)},
    "cql": {"penalty": (0.0, 10.0), "policy_learning_rate": (1e-5, 1e-3)},
    "rpex_iql": {
        "kappa": (0.0, 1.0),
        "inv_temperature": (0.1, 10.0),
        "temperature_rate": (0.0, 1.0),
    },
    "rpex_riql": {"kappa": (0.0, 1.0), "inv_temperature": (0.1, 10.0)},
}


def agent_and_config(name):
    base = name.removeprefix("rpex_")
    config = CONFIGS[base](**NETWORKS)
    if name == base:
        return AGENTS[base], config
    return policy_set(AGENTS[base]), ExpansionConfig(base=config)


def random_batch(agent, config, seed=0):
    """What one update takes: a batch, or as many as the agent stacks."""
    rng = np.random.default_rng(seed)
    lead = (BATCH,) if agent.batches is None else (agent.batches(config), BATCH)
    batch = Transition(
        observations=rng.normal(size=(*lead, 4)),
        actions=rng.uniform(-1, 1, (*lead, 2)),
        rewards=10.0 * rng.normal(size=lead),
        next_observations=rng.normal(size=(*lead, 4)),
        terminations=rng.uniform(size=lead) < 0.3,
    )
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), batch)


def random_state(agent, config, seed=0):
    """A state in which nothing is as an initialiser leaves it; costs no compilation."""
    rng = np.random.default_rng(seed)
    init = partial(agent.init, spec=SPEC, config=config)

    def fill(x):
        if jnp.issubdtype(x.dtype, jnp.integer):
            return jnp.full(x.shape, 7, x.dtype)
        return jnp.asarray(rng.normal(0.0, 0.4, x.shape), x.dtype)

    return jax.tree.map(fill, jax.eval_shape(init, jax.random.key(0)))


def swept_configs(name, config):
    """Ten configs; every swept number and the learning rate differ between them."""
    ranges = {k: np.linspace(*ends, NUM_RUNS) for k, ends in SWEPT[name].items()}
    rates = np.geomspace(1e-4, 1e-3, NUM_RUNS)

    def nth(i):
        changed = replace(config, **{k: float(x[i]) for k, x in ranges.items()})
        if isinstance(config, ExpansionConfig):
            base = replace(config.base, learning_rate=float(rates[i]))
            return replace(changed, base=base)
        return replace(changed, learning_rate=float(rates[i]))

    return [nth(i) for i in range(NUM_RUNS)]


def stack(trees):
    return jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *trees)


def pick(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


# a set over RIQL is the same program round another base
PARAMS = [
    pytest.param(name, marks=pytest.mark.slow if name == "rpex_riql" else ())
    for name in sorted(SWEPT)
]


@pytest.fixture(scope="module", params=PARAMS)
def setting(request):
    """Name, agent, config, jitted init and update, shared to compile each once."""
    agent, config = agent_and_config(request.param)
    init = jax.jit(partial(agent.init, spec=SPEC))
    return request.param, agent, config, init, jax.jit(agent.update)


def test_runs_with_other_numbers_share_one_program(setting):
    """Ten expectiles, sigmas, quantiles, kappas, learning rates, with keys, weights and
    batches of their own: one trace under vmap, and each row is the run that it would be
    alone."""
    name, agent, config, _, update = setting
    chex.clear_trace_counter()  # it goes by name, over all parameters of this test
    configs, seeds = swept_configs(name, config), range(NUM_RUNS)
    batches = [random_batch(agent, config, seed) for seed in seeds]
    # not from `init`: EDAC divides by gradients that are as small as its first heads
    states = [agent.restart(random_state(agent, config, seed)) for seed in seeds]
    keys = jax.random.split(jax.random.key(1), NUM_RUNS)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def sweep(configs):
        return jax.vmap(agent.update)(keys, stack(states), stack(batches), configs)

    sweep(stack(configs[::-1]))
    together, metrics = sweep(stack(configs))
    for i in range(NUM_RUNS):
        alone, alone_metrics = update(keys[i], states[i], batches[i], configs[i])
        chex.assert_trees_all_close(
            pick(together, i), alone, rtol=TOLERANCE, atol=TOLERANCE
        )
        chex.assert_trees_all_close(
            pick(metrics, i), alone_metrics, rtol=TOLERANCE, atol=TOLERANCE
        )
    for group in jax.tree.leaves(metrics):
        assert group.shape == (NUM_RUNS,)


@pytest.mark.parametrize("metric", ["critic/loss", "value/loss"])
def test_swept_numbers_reach_the_losses(metric):
    """Sigma and expectile of each run change its loss: no leaf is silently ignored."""
    agent, config = agent_and_config("riql")
    configs = [
        replace(config, sigma=sigma, expectile=expectile)
        for sigma, expectile in ((0.1, 0.5), (0.5, 0.7), (1.0, 0.9))
    ]
    state = jax.jit(partial(agent.init, spec=SPEC))(jax.random.key(0), config=config)
    run = jax.jit(jax.vmap(agent.update, in_axes=(None, None, None, 0)))
    batch = random_batch(agent, config)
    _, metrics = run(jax.random.key(1), state, batch, stack(configs))
    assert len(np.unique(np.asarray(metrics[metric]).round(6))) == 3


def test_another_key_starts_another_actor(setting):
    _, _, config, init, _ = setting
    keys = jax.random.split(jax.random.key(2))
    states = [init(key, config=config) for key in keys]
    actors = [jax.tree.leaves(getattr(state, "base", state).actor) for state in states]
    assert any(not np.array_equal(a, b) for a, b in zip(*actors, strict=True))


def test_update_uses_no_key_twice(setting):
    """JAX's own check of key reuse passes over init, one update and one action."""
    _, agent, config, _, _ = setting

    def everything(key):
        key_init, key_update, key_act = jax.random.split(key, 3)
        state = agent.init(key_init, SPEC, config)
        batch = random_batch(agent, config)
        state, metrics = agent.update(key_update, state, batch, config)
        actions = agent.act(key_act, state, batch.observations, config, greedy=False)
        return state, metrics, actions

    with jax.debug_key_reuse(True):
        chex.assert_tree_all_finite(jax.jit(everything)(jax.random.key(0)))


def test_actions_take_any_leading_axes(setting):
    """One state, a batch, or runs times states: shapes follow; greedy ignores keys."""
    _, agent, config, init, _ = setting
    state = init(jax.random.key(0), config=config)
    act = jax.jit(agent.act, static_argnames="greedy")
    for lead in ((), (3,), (2, 3)):
        observations = jnp.ones((*lead, 4))
        first, second = (
            act(jax.random.key(i), state, observations, config, greedy=True)
            for i in (0, 1)
        )
        assert first.shape == (*lead, 2)
        np.testing.assert_array_equal(first, second)
    first, second = (
        act(jax.random.key(i), state, jnp.ones((3, 4)), config, greedy=False)
        for i in (0, 1)
    )
    assert np.any(first != second)


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_update_keeps_shapes_and_types(name):
    """A state goes through an update unchanged in form, so that it can be scanned."""
    agent, config = agent_and_config(name)
    state = jax.eval_shape(
        partial(agent.init, spec=SPEC, config=config), jax.random.key(0)
    )
    after, _ = jax.eval_shape(
        partial(agent.update, config=config),
        jax.random.key(1),
        state,
        random_batch(agent, config),
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)


def test_a_fresh_state_can_be_donated(setting):
    """Target and critic start equal, but in buffers of their own."""
    _, agent, config, *_ = setting
    state = agent.init(jax.random.key(0), SPEC, config)
    batch = random_batch(agent, config)
    update = jax.jit(
        lambda state: agent.update(jax.random.key(1), state, batch, config)[0],
        donate_argnums=0,
    )
    chex.assert_tree_all_finite(update(state))


def test_riql_may_begin_as_iql_does():
    """PyTorch's layers are IQL's, bit by bit; the released code's are others."""
    key = jax.random.key(0)
    sizes = dict(hidden_dims=(16, 16), num_critics=2)
    iql = AGENTS["iql"].init(key, SPEC, CONFIGS["iql"](**sizes))
    riql, released = (
        AGENTS["riql"].init(key, SPEC, CONFIGS["riql"](**sizes, critic_init=name))
        for name in ("torch", "edac")
    )
    chex.assert_trees_all_equal(riql, iql)
    chex.assert_trees_all_equal(released.actor, iql.actor)
    largest = max(np.abs(x).max() for x in jax.tree.leaves(released.critic))
    assert largest < max(np.abs(x).max() for x in jax.tree.leaves(iql.critic))
