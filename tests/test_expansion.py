"""The policy set as an agent."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from rpex_jax.agents import AGENTS, CONFIGS, iql
from rpex_jax.expansion import (
    ExpansionConfig,
    adapted,
    choose,
    expand,
    inv_temperature,
    policy_set,
    propose,
    selection_metrics,
)
from rpex_jax.types import Spec, Transition

SPEC = Spec(observation_dim=4, action_dim=2)
BATCH = 8
BASES = ["iql", "riql"]
SETS = {name: policy_set(AGENTS[name]) for name in BASES}


def set_config(base, **settings):
    return ExpansionConfig(base=CONFIGS[base](hidden_dims=(8, 8)), **settings)


def random_batch(seed=0):
    rng = np.random.default_rng(seed)
    return Transition(
        observations=jnp.asarray(rng.normal(size=(BATCH, 4)), jnp.float32),
        actions=jnp.asarray(rng.uniform(-1, 1, (BATCH, 2)), jnp.float32),
        rewards=jnp.asarray(rng.normal(size=BATCH), jnp.float32),
        next_observations=jnp.asarray(rng.normal(size=(BATCH, 4)), jnp.float32),
        terminations=jnp.zeros(BATCH),
    )


@partial(jax.jit, static_argnums=0)
def base_init(base, key, config):
    return AGENTS[base].init(key, SPEC, config)


@partial(jax.jit, static_argnums=0)
def set_update(base, key, state, batch, config):
    return SETS[base].update(key, state, batch, config)


@partial(jax.jit, static_argnums=(0, 4))
def set_act(base, key, state, config, greedy):
    return SETS[base].act(
        key, state, random_batch().observations, config, greedy=greedy
    )


def pretrain(base, config):
    """A few updates, so that critic, target and moments all differ."""
    key = jax.random.key(0)
    state = base_init(base, key, config.base)
    state = state._replace(target_critic=base_init(base, key, config.base).critic)
    update = jax.jit(AGENTS[base].update)
    for seed in range(3):
        state, _ = update(key, state, random_batch(seed), config.base)
    return state


@pytest.fixture(scope="module", params=BASES)
def pretrained(request):
    base = request.param
    return base, pretrain(base, set_config(base))


@partial(
    jax.jit, static_argnums=0, static_argnames=("online_policy", "critic_transfer")
)
def jitted_expand(base, key, state, config, **settings):
    return expand(AGENTS[base], key, SPEC, state, config, **settings)


def grow(base, state, config, seed=1, **settings):
    return jitted_expand(base, jax.random.key(seed), state, config, **settings)


@partial(jax.jit, static_argnums=0)
def set_choose(base, key, state, observations, config):
    return choose(AGENTS[base], key, state, observations, config)


def assert_differ(a, b):
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    assert any(not np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_updates_leave_the_frozen_members_alone(pretrained):
    """The set's frozen member and the pretrained state stay bit for bit; all that
    learns moves."""
    base, state = pretrained
    config = set_config(base)
    kept = jax.tree.map(lambda x: np.array(x), state)
    start = grow(base, state, config)
    after = start
    for seed in range(3):
        after, _ = set_update(
            base, jax.random.key(seed), after, random_batch(seed), config
        )
    chex.assert_trees_all_equal(after.members, start.members)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[0], after.members), kept.actor)
    chex.assert_trees_all_equal(state, kept)
    for name in ("actor", "critic", "target_critic", "value"):
        assert_differ(getattr(after.base, name), getattr(start.base, name))


def test_online_policy_learns_from_selected_actions_alone(pretrained):
    """With the critics held still, the batch's actions do not touch the policy."""
    base, state = pretrained
    config = set_config(base)
    frozen_critics = AGENTS[base]._replace(
        critic_update=lambda state, batch, config: (state, None, {})
    )
    update = jax.jit(policy_set(frozen_critics).update)
    start, batch = grow(base, state, config), random_batch()
    other = batch._replace(actions=-batch.actions, rewards=batch.rewards + 5.0)
    key = jax.random.key(0)
    after, _ = update(key, start, batch, config)
    after_other, _ = update(key, start, other, config)
    assert_differ(after.base.actor, start.base.actor)
    chex.assert_trees_all_equal(after.base.actor, after_other.base.actor)


def test_policy_step_uses_the_new_critics(pretrained):
    """The choice and its advantage are computed after V, Q and target have moved."""
    base, state = pretrained
    config = set_config(base, kappa=0.3)
    start, batch, key = grow(base, state, config), random_batch(), jax.random.key(5)
    agent = AGENTS[base]
    learner, _, _ = jax.jit(agent.critic_update)(start.base, batch, config.base)
    moved = start._replace(base=learner)
    selection = set_choose(base, key, moved, batch.observations, config)
    s, a = batch.observations, selection.actions
    advantages = agent.target_action_value(learner, s, a, config.base)
    advantages -= agent.state_value(learner, s, config.base)
    weights = np.minimum(np.exp(3.0 * np.asarray(advantages, np.float64)), 100.0)
    log_prob = agent.policy(start.base, s, config.base).log_prob(a)
    _, metrics = set_update(base, key, start, batch, config)
    expected = -(weights * np.asarray(log_prob)).mean()
    np.testing.assert_allclose(metrics["actor/loss"], expected, rtol=1e-5)
    share = np.mean(np.asarray(selection.choice) == 1)
    assert metrics["selection/online_share"] == share


def test_fresh_and_copied_online_policies(pretrained):
    """Fresh: new draws by seed. Copied: the pretrained weights exactly."""
    base, state = pretrained
    config = set_config(base)
    fresh, other = (grow(base, state, config, seed=seed) for seed in (1, 2))
    assert_differ(fresh.base.actor, state.actor)
    assert_differ(fresh.base.actor, other.base.actor)
    copied = grow(base, state, config, online_policy="copied")
    chex.assert_trees_all_equal(copied.base.actor, state.actor)


def test_full_and_target_transfer(pretrained):
    """Full keeps critic, target and V; target draws a new critic and keeps the rest."""
    base, state = pretrained
    config = set_config(base)
    full = grow(base, state, config)
    target = grow(base, state, config, critic_transfer="target")
    for grown in (full, target):
        chex.assert_trees_all_equal(grown.base.value, state.value)
        chex.assert_trees_all_equal(grown.base.target_critic, state.target_critic)
    chex.assert_trees_all_equal(full.base.critic, state.critic)
    assert_differ(target.base.critic, state.critic)
    assert_differ(state.critic, state.target_critic)


def test_optimisers_start_afresh(pretrained):
    """Moments and counts are zero in every way to go on after pretraining."""
    base, state = pretrained
    config = set_config(base)
    assert int(state.actor_optimizer.count) == 3
    starts = [
        grow(base, state, config).base,
        grow(base, state, config, critic_transfer="target").base,
        AGENTS[base].restart(state),
        SETS[base].restart(grow(base, state, config)).base,
    ]
    for start in starts:
        for name in ("value", "critic", "actor"):
            optimizer = getattr(start, f"{name}_optimizer")
            chex.assert_trees_all_equal(
                optimizer, jax.tree.map(jnp.zeros_like, optimizer)
            )
            chex.assert_trees_all_equal_shapes(optimizer.mu, getattr(start, name))


def test_direct_fine_tuning_keeps_each_source_s_target(pretrained):
    """IQLDIRECT copies the critic into the target; RIQLDIRECT keeps the target."""
    base, state = pretrained
    start = AGENTS[base].restart(state)
    expected = state.critic if base == "iql" else state.target_critic
    chex.assert_trees_all_equal(start.target_critic, expected)
    for name in ("value", "critic", "actor"):
        chex.assert_trees_all_equal(getattr(start, name), getattr(state, name))


def test_greedy_evaluation_is_deterministic(pretrained):
    """Epsilon 0: any key gives the best of the members' modes. Training does not."""
    base, state = pretrained
    config = set_config(base)
    start = grow(base, state, config)
    a, b = (set_act(base, jax.random.key(i), start, config, True) for i in (0, 1))
    np.testing.assert_array_equal(a, b)
    observations = random_batch().observations
    agent = AGENTS[base]
    online = agent.policy(start.base, observations, config.base).mode()
    offline = agent.policy(state, observations, config.base).mode()
    is_mode = np.isclose(a, online).all(-1) | np.isclose(a, offline).all(-1)
    assert is_mode.all()
    c, d = (set_act(base, jax.random.key(i), start, config, False) for i in (0, 1))
    assert np.any(c != d)


def test_epsilon_makes_evaluation_explore(pretrained):
    """The released rule, two independent draws: a share epsilon of choices is drawn,
    and a share epsilon of online actions is a sample; all within five deviations."""
    base, state = pretrained
    n, epsilon = 4000, 0.2
    # equal logits: greedy takes the frozen member, a draw either of the two
    config = set_config(base, epsilon=epsilon, inv_temperature=0.0, kappa=0.0)
    start = grow(base, state, config)
    observations = jnp.broadcast_to(random_batch().observations[0], (n, 4))
    act = jax.jit(partial(SETS[base].act, greedy=True))
    actions = np.asarray(act(jax.random.key(0), start, observations, config))
    policy, first = jax.jit(AGENTS[base].policy), observations[:1]
    offline = np.asarray(policy(state, first, config.base).mode())
    online = np.asarray(policy(start.base, first, config.base).mode())
    is_online = ~np.isclose(actions, offline, atol=1e-6).all(-1)
    is_sample = is_online & ~np.isclose(actions, online, atol=1e-6).all(-1)
    for ours, share in ((is_online, epsilon / 2), (is_sample, epsilon**2 / 2)):
        deviation = np.sqrt(share * (1.0 - share) / n)
        assert abs(ours.mean() - share) < 5 * deviation


def test_offline_candidate_is_the_mode_or_a_sample(pretrained):
    """By default the frozen member proposes its mode; "sample" draws as it trained."""
    base, state = pretrained
    agent, observations = AGENTS[base], random_batch().observations

    def offline_actions(config, seed):
        start = grow(base, state, config)
        key = jax.random.key(seed)
        selection = set_choose(base, key, start, observations, config)
        return selection.actions[selection.choice == 0]

    mode = np.asarray(agent.policy(state, observations, config_of(base)).mode())

    def rows_at_mode(actions):
        return [np.isclose(mode, a, atol=1e-6).all(-1).any() for a in actions]

    modes = offline_actions(set_config(base), 0)
    samples = offline_actions(set_config(base, offline_action="sample"), 0)
    assert len(modes) > 0 and all(rows_at_mode(modes))
    assert len(samples) > 0 and not any(rows_at_mode(samples))


def config_of(base):
    return set_config(base).base


def with_spreads(state, frozen, online):
    """The set with these deviations, [action_dim], of its policies."""

    def told(actor, std):
        kept = actor["params"]
        log_std = jnp.broadcast_to(jnp.log(std), kept["log_std"].shape)
        return {"params": kept | {"log_std": log_std}}

    return state._replace(
        members=told(state.members, frozen),
        base=state.base._replace(actor=told(state.base.actor, online)),
    )


def test_a_frozen_policy_is_as_wide_as_it_was_or_as_the_one_that_learns():
    """RPEX as printed and as released, at the published check values: three actions,
    deviations of 0.2 and 1, the frozen policy at its mode."""
    config, spec = set_config("iql"), Spec(observation_dim=4, action_dim=3)
    agent, key = AGENTS["iql"], jax.random.key(0)
    start = expand(agent, key, spec, agent.init(key, spec, config.base), config)
    start = with_spreads(start, jnp.full(3, 0.2), jnp.ones(3))

    @jax.jit
    def proposals(config):
        observations = random_batch().observations
        return propose(agent, key, start, observations, config, 1.0)

    actions, own = proposals(config)
    same, released = proposals(config.replace(online_spread=1.0))
    np.testing.assert_array_equal(actions, same)
    np.testing.assert_array_equal(own[1], released[1])
    np.testing.assert_allclose(own[0], np.full(BATCH, 2.071498), atol=2e-6)
    np.testing.assert_allclose(released[0], np.full(BATCH, -2.756816), atol=2e-6)


@pytest.mark.parametrize("online_spread", [0.0, 1.0])
def test_at_kappa_0_both_rules_are_pex(pretrained, online_spread):
    """The same logits and choices; at another kappa the rules part."""
    base, state = pretrained
    pex = set_config(base, kappa=0.0)
    start = with_spreads(grow(base, state, pex), jnp.full(2, 0.2), jnp.full(2, 1.5))
    observations, key = random_batch().observations, jax.random.key(2)

    def of_rule(kappa):
        config = pex.replace(kappa=kappa, online_spread=online_spread)
        return set_choose(base, key, start, observations, config)

    plain = set_choose(base, key, start, observations, pex)
    ours = of_rule(0.0)
    np.testing.assert_array_equal(ours.logits, plain.logits)
    np.testing.assert_array_equal(ours.choice, plain.choice)
    np.testing.assert_array_equal(ours.actions, plain.actions)

    found, std = of_rule(0.1), np.array([0.2, 1.5])[[int(online_spread), 1]]
    v = np.asarray(state_value(base, state, observations), np.float64)
    density = 1.0 / (std[0] ** 2 * 2.0 * np.pi)  # of two dimensions, at the mode
    q = np.asarray(found.action_values[:, 0], np.float64)
    w = np.clip((q - v) / (density + 1e-6), -1e4, 100.0)
    np.testing.assert_allclose(found.logits[:, 0], 3.0 * q + 0.1 * w, rtol=1e-5)


def test_any_number_of_frozen_members():
    """A set of K policies acts and learns; every member can be chosen."""
    num = 5
    config = set_config("iql", inv_temperature=0.0, kappa=0.0)
    keys = jax.random.split(jax.random.key(3), num - 1)
    pretrained = base_init("iql", jax.random.key(0), config.base)
    members = jax.jit(jax.vmap(lambda key: iql.init(key, SPEC, config.base).actor))(
        keys
    )
    state = grow("iql", pretrained, config, members=members)
    observations = jnp.zeros((400, 4))
    selection = set_choose("iql", jax.random.key(1), state, observations, config)
    assert selection.logits.shape == (400, num)
    actions, choice = np.asarray(selection.actions), np.asarray(selection.choice)
    assert set(choice) == set(range(num))
    policies = jax.jit(jax.vmap(iql.apply_policy, in_axes=(0, None, None)))
    modes = np.asarray(policies(members, observations[0], config.base).mode())
    is_frozen = choice < num - 1
    np.testing.assert_allclose(
        actions[is_frozen], modes[choice[is_frozen]], rtol=0, atol=1e-6
    )
    after, _ = set_update("iql", jax.random.key(2), state, random_batch(), config)
    chex.assert_trees_all_equal(after.members, members)
    assert_differ(after.base.actor, state.base.actor)


def test_selection_is_measured_as_numpy_measures_it(pretrained):
    """Three members; the terms recomputed from the logits with and without kappa."""
    base, state = pretrained
    config = set_config(base, kappa=0.3)
    members = jax.tree.map(lambda x: jnp.stack([x, x + 0.1]), state.actor)
    start = grow(base, state, config, members=members)
    observations = random_batch().observations
    key = jax.random.key(4)
    selection = set_choose(base, key, start, observations, config)
    plain = set_choose(base, key, start, observations, set_config(base, kappa=0.0))
    logits, scaled = (np.asarray(s.logits, np.float64) for s in (selection, plain))
    np.testing.assert_allclose(3.0 * selection.action_values, scaled, rtol=1e-6)
    metrics = selection_metrics(selection, start, config)
    term = logits - scaled
    expected = {
        "selection/correction_size": abs(term).mean() / abs(scaled).mean(),
        "selection/correction_range": np.ptp(term, -1).mean()
        / np.ptp(scaled, -1).mean(),
        "selection/clipped_low": np.mean(term <= 0.3 * -1e4),
        "selection/clipped_high": np.mean(term >= 0.3 * 1e2 * (1 - 1e-5)),
    }
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    expected["selection/effective_members"] = (1.0 / (p**2).sum(-1)).mean()
    expected["selection/entropy"] = scipy.stats.entropy(p, base=3, axis=-1).mean()
    expected["selection/inv_temperature"] = 3.0
    for i, count in enumerate(np.bincount(selection.choice, minlength=3)):
        expected[f"selection/share_{i}"] = count / BATCH
    expected["selection/online_share"] = expected["selection/share_2"]
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, err_msg=name)


def test_the_correction_has_the_config_s_floor_and_range(pretrained):
    """Under a floor of 1e6 the density is nothing; clips are those of the weights."""
    base, state = pretrained
    observations, key = random_batch().observations, jax.random.key(4)

    def choice(**settings):
        config = set_config(base, kappa=0.3, **settings)
        start = grow(base, state, config)
        return set_choose(base, key, start, observations, config)

    found, v = choice(density_floor=1e6), state_value(base, state, observations)
    advantages = found.action_values - v[:, None]
    np.testing.assert_allclose(1e6 * found.weights, advantages, rtol=1e-3, atol=1e-5)
    plain = np.asarray(choice().weights)
    low, high = np.quantile(plain, (0.3, 0.7))
    clipped = choice(lowest_weight=low, highest_weight=high)
    np.testing.assert_allclose(clipped.weights, np.clip(plain, low, high), rtol=1e-6)
    expected = 3.0 * clipped.action_values + 0.3 * clipped.weights
    np.testing.assert_allclose(clipped.logits, expected, rtol=1e-5, atol=1e-6)


def state_value(base, state, observations):
    return AGENTS[base].state_value(state, observations, config_of(base))


def test_temperature_adapts_to_the_entropy_it_is_told(pretrained):
    """Too even a selection is sharpened, too sharp a one softened, until it fits; the
    papers' rate of 0 leaves all as it is."""
    base, state = pretrained
    config = set_config(base, kappa=0.0, temperature_rate=0.3, target_entropy=0.6)
    start = grow(base, state, config)
    q = jnp.asarray(np.random.default_rng(0).normal(size=(64, 4)))
    for initial in (3.0, 0.01):
        told = config.replace(inv_temperature=initial)

        def once(_, state, told=told):
            return adapted(state, inv_temperature(state, told) * q, told)

        after = jax.lax.fori_loop(0, 300, once, start)
        p = jax.nn.softmax(inv_temperature(after, told) * q)
        entropy = scipy.stats.entropy(np.asarray(p, np.float64), base=4, axis=-1)
        np.testing.assert_allclose(entropy.mean(), 0.6, atol=1e-3)
        fixed = adapted(start, initial * q, told.replace(temperature_rate=0.0))
        assert float(inv_temperature(fixed, told)) == np.float32(initial)
    alike = jax.lax.fori_loop(
        0, 300, lambda _, s: adapted(s, jnp.zeros((8, 2)), config), start
    )
    np.testing.assert_allclose(inv_temperature(alike, config), 3000.0, rtol=1e-5)


def test_the_adapted_temperature_is_what_selects(pretrained):
    """In the logits of the next choice; an update moves it, after its own choice."""
    base, state = pretrained
    config = set_config(base, kappa=0.0, temperature_rate=0.1)
    start = grow(base, state, config)
    observations, key = random_batch().observations, jax.random.key(0)
    sharp = start._replace(log_sharpness=jnp.log(2.0))
    plain, twice = (
        set_choose(base, key, s, observations, config) for s in (start, sharp)
    )
    np.testing.assert_allclose(twice.logits, 2.0 * plain.logits, rtol=1e-5)
    after, metrics = set_update(base, key, start, random_batch(), config)
    assert float(metrics["selection/inv_temperature"]) == 3.0
    moved = 0.1 * (float(metrics["selection/entropy"]) - 0.5)
    np.testing.assert_allclose(after.log_sharpness, moved, rtol=1e-5, atol=1e-7)
