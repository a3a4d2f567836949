"""Selection against the formulas and check values; the policy set as an agent."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpex_jax.agents import AGENTS, CONFIGS, iql
from rpex_jax.expansion import (
    LOGITS,
    ExpansionConfig,
    choose,
    expand,
    policy_set,
    printed_logits,
    select,
    selection_logits,
    selection_metrics,
)
from rpex_jax.types import Spec, Transition

TOLERANCE = 1e-6  # relative; the published check values have seven digits
SPEC = Spec(observation_dim=4, action_dim=2)
BATCH = 8
BASES = ["iql", "riql"]
SETS = {name: policy_set(AGENTS[name]) for name in BASES}

# RPEX with kappa 0.1, lambda 3, action dim 3: the offline policy at its mode with
# sigma 0.2, the online one with sigma 1 and every coordinate 0.5 from the mean.
LOG_DENSITIES = jnp.asarray([2.071498, -3.131816])
Q = jnp.asarray([1.0, 1.2])
CHECK_VALUES = [
    (1.1, 0.1, (2.9987400, 3.8291502), (0.303558, 0.696442)),
    (1.5, 0.1, (2.9937002, 2.9125493), (0.520276, 0.479724)),
    (1.1, 0.0, (3.0, 3.6), (0.354344, 0.645656)),
    (1.5, 0.0, (3.0, 3.6), (0.354344, 0.645656)),
]


def numpy_weights(q, v, log_p, clip=(-1e4, 1e2)):
    return np.clip((q - v[..., None]) / (np.exp(log_p) + 1e-6), *clip)


def random_selection(num, seed=0, shape=(6,)):
    """Float64 Q, V and log-densities of realistic size."""
    rng = np.random.default_rng(seed)
    q = rng.normal(1.0, 2.0, (*shape, num))
    return q, rng.normal(1.0, 2.0, shape), rng.uniform(-9.0, 8.0, (*shape, num))


@pytest.mark.parametrize(("v", "kappa", "logits", "probabilities"), CHECK_VALUES)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_logits_at_the_check_values(v, kappa, logits, probabilities, wrap):
    """RPEX for V below and above Q, and PEX, which does not look at V."""
    ours = wrap(selection_logits)(Q, jnp.float32(v), LOG_DENSITIES, 3.0, kappa)
    np.testing.assert_allclose(ours, logits, rtol=TOLERANCE, atol=0)
    np.testing.assert_allclose(jax.nn.softmax(ours), probabilities, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num", [2, 4, 8, 16])
def test_logits_for_any_number_of_members(num):
    """lambda Q + kappa clip((Q - V) / (p + 1e-6)) for K members, batched and single."""
    q, v, log_p = random_selection(num)
    expected = 3.0 * q + 0.1 * numpy_weights(q, v, log_p)
    arrays = [jnp.asarray(x) for x in (q, v, log_p)]
    batched = jax.jit(selection_logits)(*arrays, 3.0, 0.1)
    assert batched.shape == (6, num)
    scale = np.maximum(np.abs(expected), 1.0)
    assert np.all(np.abs(batched - expected) < 2e-5 * scale)
    single = selection_logits(*(x[0] for x in arrays), 3.0, 0.1)
    np.testing.assert_allclose(single, batched[0], rtol=TOLERANCE)


def test_correction_is_clipped_on_both_sides():
    """A tail action (density near 0) moves a logit by -1000 or +10, no further."""
    logits = selection_logits(
        jnp.asarray([-1.0, 1.0]), jnp.float32(0.0), jnp.full(2, -50.0), 3.0, 0.1
    )
    np.testing.assert_allclose(logits, [-3.0 - 1000.0, 3.0 + 10.0], rtol=TOLERANCE)


def test_density_floor_decides_the_weight_of_a_tail():
    """With p = 0 the weight is (Q - V) / 1e-6: here 50 and -5000, inside the clip."""
    logits = selection_logits(
        jnp.asarray([5e-5, -5e-3]), jnp.float32(0.0), jnp.full(2, -200.0), 0.0, 1.0
    )
    np.testing.assert_allclose(logits, [50.0, -5000.0], rtol=1e-5)


@pytest.mark.parametrize("form", sorted(LOGITS))
@pytest.mark.parametrize("log_p", [-1e3, 0.0, 1e3])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_extreme_densities_and_values_stay_finite(form, log_p, scale):
    """Log-densities of +-1000: exp would overflow; logits and gradients must not."""
    q = scale * jnp.asarray([-1.0, 0.5, 1.0])

    def total(q, v, log_densities):
        logits = LOGITS[form](q, v, log_densities, 3.0, 0.1)
        return logits.sum(), logits

    inputs = (q, jnp.float32(0.1), jnp.asarray([log_p, 0.0, -log_p]))
    gradients, logits = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(*inputs)
    chex.assert_tree_all_finite((logits, gradients))
    chex.assert_tree_all_finite(jax.nn.softmax(logits))


@pytest.mark.parametrize("num", [2, 8])
def test_kappa_zero_is_pex_bit_for_bit(num):
    """PEX is a number, not another program: its logits are lambda Q exactly."""
    q, v, log_p = (jnp.asarray(x) for x in random_selection(num))
    for log_densities in (log_p, jnp.full_like(log_p, -1e3)):
        logits = selection_logits(q, v, log_densities, 3.0, 0.0)
        np.testing.assert_array_equal(logits, 3.0 * q)


@pytest.mark.parametrize("num", [2, 4])
def test_printed_form_is_the_printed_equation(num):
    """Where exp(lambda Q) + kappa w is positive, its share is the probability."""
    q, v, log_p = random_selection(num, seed=1, shape=(200,))
    log_p = log_p / 3.0
    sums = np.exp(3.0 * q) + 0.1 * numpy_weights(q, v, log_p)
    positive = np.all(sums > 1e-2 * np.exp(3.0 * q), axis=-1)
    assert 10 < positive.sum() < 200
    expected = (sums / sums.sum(-1, keepdims=True))[positive]
    arrays = [jnp.asarray(x) for x in (q, v, log_p)]
    ours = jax.nn.softmax(printed_logits(*arrays, 3.0, 0.1))[positive]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5)


def test_printed_form_guards_negative_numerators():
    """A numerator below 0 is no probability: it becomes 1e-6 of the plain one."""
    args = (jnp.asarray([-1.0, 1.0]), jnp.float32(0.0), jnp.full(2, -3.0), 3.0, 0.1)
    logits = printed_logits(*args)
    np.testing.assert_allclose(logits[0], -3.0 + np.log(1e-6), rtol=TOLERANCE)
    expected = np.log(np.exp(3.0) + 0.1 / (np.exp(-3.0) + 1e-6))
    np.testing.assert_allclose(logits[1], expected, rtol=TOLERANCE)


def test_select_without_epsilon_is_greedy():
    """The highest logit, whatever the key; indices follow the leading axes."""
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 4)))
    for seed in range(5):
        choice = select(jax.random.key(seed), logits, 0.0)
        np.testing.assert_array_equal(choice, logits.argmax(-1))


@pytest.mark.parametrize("epsilon", [1.0, 0.1])
def test_select_draws_from_the_softmax_with_probability_epsilon(epsilon):
    """Pearson's chi-square of 20 000 draws, K = 4, below its 1 - 1e-5 quantile."""
    n, logits = 20_000, np.array([0.0, 1.0, -1.0, 0.5])
    share = np.exp(logits) / np.exp(logits).sum()
    expected = epsilon * share + (1.0 - epsilon) * np.eye(4)[1]
    choice = select(
        jax.random.key(7), jnp.broadcast_to(jnp.asarray(logits), (n, 4)), epsilon
    )
    counts = np.bincount(choice, minlength=4)
    chi_square = ((counts - n * expected) ** 2 / (n * expected)).sum()
    assert chi_square < 25.9  # three degrees of freedom


# The set as an agent


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


@pytest.mark.parametrize(
    "wrong", [{"online_policy": "new"}, {"critic_transfer": "none"}]
)
def test_unknown_switches_are_named_in_the_error(wrong):
    """The message names the setting, its value and what is allowed."""
    config = set_config("iql")
    (name, value), state = (
        *wrong.items(),
        base_init("iql", jax.random.key(0), config.base),
    )
    with pytest.raises(ValueError, match=f"{name} is '{value}'; allowed: "):
        grow("iql", state, config, **wrong)


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
    metrics = selection_metrics(selection, config)
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
    for i, count in enumerate(np.bincount(selection.choice, minlength=3)):
        expected[f"selection/share_{i}"] = count / BATCH
    expected["selection/online_share"] = expected["selection/share_2"]
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, err_msg=name)
